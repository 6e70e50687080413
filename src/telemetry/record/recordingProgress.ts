import type {
  EvaluationReport,
  Progress,
  RecordedAs,
  RunFinish,
  RunStart,
  SavedReport,
  StepReport,
} from '../progress.ts';
import type { RunRecord } from './record.ts';

/** Passes everything on to `shown` and keeps what lasts: events, evaluations, checkpoints, memory. */
export class RecordingProgress implements Progress {
  readonly #shown: Progress;
  readonly #record: RunRecord;

  constructor(shown: Progress, record: RunRecord) {
    this.#shown = shown;
    this.#record = record;
  }

  start(run: RunStart): void {
    this.#record.begin(run);
    this.#shown.start(run);
  }

  step(report: StepReport): void {
    this.#record.memory(report.step, report.memory);
    this.#shown.step(report);
  }

  evaluation(report: EvaluationReport): void {
    this.#record.evaluation(report);
    this.#shown.evaluation(report);
  }

  saved(report: SavedReport): void {
    this.#record.checkpoint(report);
    this.#shown.saved(report);
  }

  note(text: string, event?: RecordedAs): void {
    if (event !== undefined) this.#record.event(text, event);
    this.#shown.note(text);
  }

  warn(text: string, event: RecordedAs = { kind: 'warning' }): void {
    this.#record.event(text, event);
    this.#shown.warn(text);
  }

  finish(result: RunFinish): void {
    this.#record.finish(result.outcome);
    this.#shown.finish(result);
  }

  dispose(): void {
    this.#shown.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
