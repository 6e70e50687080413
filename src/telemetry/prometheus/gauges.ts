/** Current values of a run in Prometheus' text format 0.0.4. */
import type { MovementFigures } from '../memorySummary.ts';
import type { EvaluationReport, RecordedAs, RunStart, SavedReport, TierUse } from '../progress.ts';
import type { StepRow } from '../record/record.ts';

interface Family {
  readonly type: 'gauge' | 'counter';
  readonly help: string;
  /** Values by their labels, written as they stand between braces. */
  readonly values: Map<string, number>;
}

/** Names follow Prometheus' rules: base units, `_total` for what only grows. */
export class Gauges {
  readonly #families = new Map<string, Family>();
  readonly #run: string;

  constructor(run: string) {
    this.#run = run;
  }

  begin({ totalSteps, completedSteps, parameters }: RunStart): void {
    this.#set('tierra_steps_planned', 'Step at which the run is complete.', totalSteps);
    this.#set('tierra_step', 'Optimizer steps done.', completedSteps);
    this.#set('tierra_parameters', 'Trainable values of the model.', parameters);
    this.#set('tierra_up', '1 while the run trains.', 1);
    this.#set(
      'tierra_start_time_seconds',
      'When this process began to train, in seconds since 1970.',
      Date.now() / 1e3,
    );
  }

  step(row: StepRow): void {
    this.#set('tierra_step', 'Optimizer steps done.', row.step);
    this.#set('tierra_loss', 'Mean training loss of the last step.', row.loss);
    this.#set('tierra_gradient_norm', 'Global gradient norm of the last step before clipping.', row.gradientNorm);
    this.#set('tierra_clip_factor', 'What the gradients of the last step were multiplied with.', row.clipFactor);
    this.#set('tierra_learning_rate', 'Learning rate of the last step.', row.learningRate);
    this.#set('tierra_step_seconds', 'Duration of the last step.', row.seconds);
    this.#set('tierra_last_step_time_seconds', 'When the last step ended, in seconds since 1970.', Date.now() / 1e3);
    this.#add('tierra_tokens_total', 'Tokens that this process trained on.', row.tokens);
    if (row.lossScale !== null) this.#set('tierra_loss_scale', 'Loss scale of the last step.', row.lossScale);
  }

  event({ kind }: RecordedAs): void {
    this.#add('tierra_events_total', 'Events of this process by their kind.', 1, `kind="${escaped(kind)}"`);
  }

  evaluation({ loss, step }: EvaluationReport): void {
    this.#set('tierra_evaluation_loss', 'Loss of the last evaluation.', loss);
    this.#set('tierra_evaluation_step', 'Step of the last evaluation.', step);
  }

  checkpoint({ step }: SavedReport): void {
    this.#set('tierra_checkpoint_step', 'Step of the last checkpoint.', step);
    this.#set(
      'tierra_checkpoint_time_seconds',
      'When the last checkpoint was saved, in seconds since 1970.',
      Date.now() / 1e3,
    );
  }

  memory(uses: readonly TierUse[]): void {
    for (const { tier, usedBytes, budgetBytes } of uses) {
      const labels = `tier="${tier}"`;
      this.#set('tierra_memory_used_bytes', 'Bytes in use on a tier.', usedBytes, labels);
      this.#set('tierra_memory_budget_bytes', 'Bytes that a tier may use.', budgetBytes, labels);
    }
  }

  movement({ waits, computeSeconds }: MovementFigures): void {
    this.#set('tierra_compute_seconds', 'Computing in a step, mean.', computeSeconds);
    for (const { cause, seconds } of waits) {
      const labels = `cause="${escaped(cause)}"`;
      this.#set('tierra_wait_seconds', 'Waiting in a step by its cause, mean.', seconds, labels);
    }
  }

  finish(): void {
    this.#set('tierra_up', '1 while the run trains.', 0);
  }

  text(): string {
    const run = `run="${escaped(this.#run)}"`;
    return [...this.#families]
      .map(([name, { type, help, values }]) => {
        const lines = [...values].map(
          ([labels, value]) =>
            `${name}{${[run, labels].filter((label) => label !== '').join(',')}} ${numberText(value)}\n`,
        );
        return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
      })
      .join('');
  }

  #set(name: string, help: string, value: number, labels = ''): void {
    this.#family(name, help, 'gauge').set(labels, value);
  }

  #add(name: string, help: string, value: number, labels = ''): void {
    const values = this.#family(name, help, 'counter');
    values.set(labels, (values.get(labels) ?? 0) + value);
  }

  #family(name: string, help: string, type: Family['type']): Family['values'] {
    let family = this.#families.get(name);
    if (family === undefined) {
      family = { type, help, values: new Map() };
      this.#families.set(name, family);
    }
    return family.values;
  }
}

const escaped = (text: string): string => text.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');

const numberText = (value: number): string =>
  Number.isNaN(value) ? 'NaN' : Number.isFinite(value) ? String(value) : value > 0 ? '+Inf' : '-Inf';
