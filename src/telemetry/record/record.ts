import type { MovementFigures } from '../memorySummary.ts';
import type { EvaluationReport, RecordedAs, RunStart, SavedReport, TierUse } from '../progress.ts';

/** What one optimizer step measured. Numbers are kept with the precision of a 32-bit float. */
export interface StepRow {
  /** Steps done, counted from 1. */
  readonly step: number;
  readonly loss: number;
  /** Global norm before clipping. */
  readonly gradientNorm: number;
  /** What the gradients were multiplied with: 1 below the clip norm. */
  readonly clipFactor: number;
  readonly learningRate: number;
  /** The factor that the loss was multiplied with, or null where there is no loss scaling. */
  readonly lossScale: number | null;
  readonly tokens: number;
  readonly seconds: number;
}

export type RunOutcome = 'completed' | 'interrupted' | 'failed';

/**
 * The lasting record of one run. Every call only fills a buffer, returns at once and never throws: a run does not
 * end, and does not wait, because its record cannot be written. What is buffered is written once a second, so that a
 * killed process loses at most the last second.
 */
export interface RunRecord extends Disposable {
  /** What `tierra runs show` calls this run; null where nothing is recorded. */
  readonly id: string | null;
  /** Before the first step. What was told before it is kept too; a run that never begins leaves nothing. */
  begin(start: RunStart): void;
  /** A step that is not after the last one means that training went back: what was recorded after it is superseded. */
  step(row: StepRow): void;
  event(text: string, event: RecordedAs): void;
  evaluation(row: EvaluationReport): void;
  checkpoint(row: SavedReport): void;
  /** Bytes in use per tier now. */
  memory(step: number, uses: readonly TierUse[]): void;
  /** What moved and what compute waited for since this process began; each call replaces the one before. */
  movement(report: MovementFigures): void;
  /** Writes everything. A record that is disposed of without it is of a run that failed. */
  finish(outcome: RunOutcome, reason?: string): void;
  /** Writes what is buffered and closes; may be called more than once. */
  dispose(): void;
}

/** Where nothing is to be recorded: ranks other than the first, `record: null`, tests. */
export const noRecord: RunRecord = {
  id: null,
  begin() {},
  step() {},
  event() {},
  evaluation() {},
  checkpoint() {},
  memory() {},
  movement() {},
  finish() {},
  dispose() {},
  [Symbol.dispose]() {},
};
