import type { Tensor } from '../../tensor/index.ts';

/** Experts `begin` to `end` (not included). */
export interface ExpertRange {
  readonly begin: number;
  readonly end: number;
}

/** Rows that are with their experts. */
export interface RowsAtExperts {
  /** `[rows, width]`, those of the first expert here first. */
  readonly rows: Tensor;
  /** How many rows each expert here has. */
  readonly counts: readonly number[];
  /** Results in the order of `rows` to where the rows came from, in the order they were sent in. */
  back(results: Tensor): Tensor;
}

/** Experts that are spread over ranks, as the mixture sees them; `dist` implements it. Every rank makes every call, also without tokens. */
export interface ExpertExchange {
  /** Those of `experts` that this rank has. Throws `E_CONFIG` where they do not divide. */
  range(experts: number): ExpertRange;
  /** Slots of all experts `[experts, slots, width]` to those of the experts here, of all ranks: `[here, ranks · slots, width]`. */
  toExperts(slots: Tensor): Tensor;
  /** The reverse. */
  fromExperts(results: Tensor): Tensor;
  /** Rows `[n, width]` ordered by expert, `counts[e]` of expert e. */
  rowsToExperts(rows: Tensor, counts: readonly number[]): RowsAtExperts;
  /** Sums over all ranks whose tokens one loss is the mean of; a new tensor without gradient. */
  sumOverTokens(x: Tensor): Tensor;
}
