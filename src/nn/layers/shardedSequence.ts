/** Sequences whose tokens are spread over ranks, as layers see them; `dist` implements it. */
import type { DeviceName } from '../../native/binding.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import type { AttentionOptions } from './attention.ts';

/** Positions `begin` to `end` (not included) of a sequence. */
export interface PositionRun {
  readonly begin: number;
  readonly end: number;
}

export interface ShardedSequence {
  /** Number of ranks that share a sequence. */
  readonly parts: number;
  /** This rank's tokens of x, which has whole sequences along `dim`. */
  split(x: Tensor, dim: number): Tensor;
  /**
   * From the mean loss over this rank's tokens to its share of the mean over all: the mean of shares over the ranks is that mean,
   * also where they have different numbers of labels. `labels` of this rank's tokens, -100 without loss.
   */
  shareOfLoss(localMean: Tensor, labels: Tensor): Tensor;
  /** Where this rank's tokens stand in a sequence of which it holds `length`, in their order. */
  runs(length: number): readonly PositionRun[];
  /** As `attention`, with this rank's tokens only; causal and windowed masks go by the positions in the whole sequence. */
  attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor;
}

/** The positions of a rank's tokens, or of a whole sequence that begins at `start`. */
export function positionRuns(sequence: ShardedSequence | null, start: number, length: number): readonly PositionRun[] {
  return sequence?.runs(length) ?? [{ begin: start, end: start + length }];
}

/** int64 `[length]`. */
export function positionIds(runs: readonly PositionRun[], device: DeviceName): Tensor {
  const parts = runs.map(({ begin, end }) => ops.arange(begin, end, { device }));
  return parts.length === 1 ? parts[0]! : ops.cat(parts, 0);
}
