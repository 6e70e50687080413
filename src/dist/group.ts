/**
 * Ranks that communicate. Tensors are contiguous and of one element type and device; collectives of a group are called in
 * the same order by all its ranks. Every call returns at once; results are there after `wait()`, on a GPU for what is
 * submitted to the current stream after it.
 */
import type { Tensor } from '../tensor/index.ts';

/** A collective under way. Tensors given to it must stay as they are until `wait()` has returned. */
export interface Work {
  /** Throws `E_COLLECTIVE` naming the collective, the group and the rank when it failed or timed out. */
  wait(): void;
}

export type Reduction = 'sum' | 'max' | 'min';

/** Payload at each collective's definition, counted in the addon. */
export interface CollectiveCounter {
  readonly calls: number;
  /**
   * Elements and bytes this rank received that were not its own, over g ranks. All-gather of a result S and reduce-scatter of
   * an input S: (g-1)/g S. All-reduce of S: own part g-1 times, then the other parts; 2 (g-1)/g S where g divides S. Broadcast: S,
   * nothing at the root. Reduce: S, nothing at the position behind the root (a chain). All-to-all: the rows from others.
   */
  readonly elementsReceived: number;
  readonly bytesReceived: number;
  /** What this process spent in the call and in `wait()`: communication that was not hidden. */
  readonly seconds: number;
}

export type CollectiveName =
  | 'allReduce'
  | 'allGather'
  | 'reduceScatter'
  | 'broadcast'
  | 'reduce'
  | 'allToAll'
  | 'send'
  | 'receive'
  | 'barrier';

export interface Group {
  readonly name: string;
  /** Ranks of the world, in the group's order. */
  readonly ranks: readonly number[];
  /** Position of this process in `ranks`. */
  readonly rank: number;
  readonly size: number;
  /** In place. */
  allReduce(tensor: Tensor, reduction?: Reduction): Work;
  /** `into` holds `size` times the elements of `from`, in rank order. */
  allGather(into: Tensor, from: Tensor): Work;
  /** `from` holds `size` parts; part `rank` of the sum over ranks arrives in `into`. Added in rank order in deterministic mode. */
  reduceScatter(into: Tensor, from: Tensor): Work;
  /** From position `root`, in place. */
  broadcast(tensor: Tensor, root: number): Work;
  /** The sum arrives at position `root`, in place; elsewhere the tensor's contents are undefined afterwards. */
  reduce(tensor: Tensor, root: number): Work;
  /** Along dimension 0; equal parts, or `intoSplits[i]` rows from and `fromSplits[i]` rows to position i. */
  allToAll(into: Tensor, from: Tensor, intoSplits?: readonly number[], fromSplits?: readonly number[]): Work;
  send(tensor: Tensor, to: number, tag?: number): Work;
  receive(tensor: Tensor, from: number, tag?: number): Work;
  /** Waits for all ranks of the group. */
  barrier(): void;
  counters(): Readonly<Record<CollectiveName, CollectiveCounter>>;
  resetCounters(): void;
  dispose(): void;
}
