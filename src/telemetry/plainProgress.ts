import type { EvaluationReport, Progress, RunFinish, RunStart, SavedReport, StepReport } from './progress.ts';
import type { Output } from './terminal.ts';
import {
  evaluationText,
  finishText,
  leftText,
  lossText,
  memoryText,
  normText,
  rateText,
  savedText,
  speedText,
  startText,
  tierText,
} from './words.ts';

/**
 * One line per event, for files and pipes. A step's line appears for the first step, every `logEvery` steps and the
 * last. Fields are separated by two spaces and never change places.
 */
export class PlainProgress implements Progress {
  readonly #output: Output;
  readonly #logEvery: number;
  #totalSteps = 0;
  #first = true;

  constructor(output: Output, options: { readonly logEvery: number }) {
    this.#output = output;
    this.#logEvery = options.logEvery;
  }

  start(run: RunStart): void {
    this.#totalSteps = run.totalSteps;
    this.#first = true;
    this.note(startText(run));
  }

  step(report: StepReport): void {
    const due = this.#first || report.step % this.#logEvery === 0 || report.step === this.#totalSteps;
    this.#first = false;
    if (!due) return;
    const total = String(this.#totalSteps);
    const fields = [
      `step ${String(report.step).padStart(total.length)}/${total}`,
      `loss ${lossText(report.loss)}`,
      `rate ${rateText(report.learningRate)}`,
      `norm ${normText(report.gradientNorm)}`,
      speedText(report.tokensPerSecond),
      `left ${leftText(report.secondsLeft)}`,
      ...report.memory.map((use) => `${tierText(use)} ${memoryText(use)}`),
    ];
    this.note(fields.join('  '));
  }

  evaluation(report: EvaluationReport): void {
    this.note(evaluationText(report));
  }

  saved(report: SavedReport): void {
    this.note(savedText(report));
  }

  note(text: string): void {
    this.#output.write(`${text}\n`);
  }

  warn(text: string): void {
    this.note(`warning: ${text}`);
  }

  finish(result: RunFinish): void {
    this.note(finishText(result));
  }

  dispose(): void {}

  [Symbol.dispose](): void {
    this.dispose();
  }
}
