import type { StepRow } from '../record/record.ts';
import { type Columns, emptyColumns, sliceColumns } from './columns.ts';

/** Steps in one row of `blocks`: about 31 KB deflated, and a summary that a day at 100 steps/s has 2,110 of. */
export const blockSteps = 4096;

export interface BlockSummary {
  readonly lossMin: number | null;
  readonly lossMean: number | null;
  readonly lossMax: number | null;
  readonly lossLast: number | null;
  readonly normMean: number | null;
  readonly normMax: number | null;
  readonly rateLast: number | null;
  readonly clipped: number;
  readonly notFinite: number;
  readonly tokens: number;
  readonly seconds: number;
}

/** Consecutive steps on their way into the store. */
export class StepBuffer {
  readonly firstStep: number;
  readonly #columns: Columns = emptyColumns(blockSteps);
  readonly #endedMs = new Float64Array(blockSteps);
  #startedMs = 0;
  #count = 0;

  constructor(firstStep: number) {
    this.firstStep = firstStep;
  }

  get count(): number {
    return this.#count;
  }

  get nextStep(): number {
    return this.firstStep + this.#count;
  }

  get full(): boolean {
    return this.#count === blockSteps;
  }

  push(row: StepRow, nowMs: number): void {
    const at = this.#count;
    const columns = this.#columns;
    columns.loss[at] = row.loss;
    columns.gradientNorm[at] = row.gradientNorm;
    columns.clipFactor[at] = row.clipFactor;
    columns.learningRate[at] = row.learningRate;
    columns.lossScale[at] = row.lossScale ?? Number.NaN;
    columns.tokens[at] = row.tokens;
    columns.seconds[at] = row.seconds;
    if (at === 0) this.#startedMs = nowMs - row.seconds * 1e3;
    this.#endedMs[at] = nowMs;
    this.#count = at + 1;
  }

  columns(from = 0): Columns {
    return sliceColumns(this.#columns, from, this.#count);
  }

  /** When the step at `from` began and the last one ended. */
  span(from = 0): { readonly startedMs: number; readonly endedMs: number } {
    const startedMs = from === 0 ? this.#startedMs : this.#endedMs[from - 1]!;
    return { startedMs: Math.round(startedMs), endedMs: Math.round(this.#endedMs[this.#count - 1]!) };
  }
}

/** What a block says without being decoded. Means are over finite values; null where there is none. */
export function summarize(columns: Columns): BlockSummary {
  const loss = statistics(columns.loss);
  const norm = statistics(columns.gradientNorm);
  const { clipFactor, learningRate, tokens, seconds } = columns;
  let clipped = 0;
  let notFinite = 0;
  for (let i = 0; i < clipFactor.length; i++) {
    if (clipFactor[i]! < 1) clipped++;
    if (!Number.isFinite(columns.loss[i]!) || !Number.isFinite(columns.gradientNorm[i]!)) notFinite++;
  }
  return {
    lossMin: loss.min,
    lossMean: loss.mean,
    lossMax: loss.max,
    lossLast: finite(columns.loss.at(-1)),
    normMean: norm.mean,
    normMax: norm.max,
    rateLast: finite(learningRate.at(-1)),
    clipped,
    notFinite,
    tokens: statistics(tokens).sum,
    seconds: statistics(seconds).sum,
  };
}

const finite = (value: number | undefined): number | null =>
  value !== undefined && Number.isFinite(value) ? value : null;

function statistics(values: Float32Array) {
  let [sum, count, min, max] = [0, 0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    sum += value;
    count += 1;
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return count === 0 ? { sum, mean: null, min: null, max: null } : { sum, mean: sum / count, min, max };
}
