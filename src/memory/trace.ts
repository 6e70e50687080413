import { hashString } from '../core/hash.ts';
import type { ChunkId } from './types.ts';

/**
 * `forward` and `backward`: one unit at work. `norm`: the global norm (and overflow) becomes known, nothing else.
 * `update`: states that live on the GPU are updated there. A training step ends with `norm`, then `update`.
 */
export type Pass = 'forward' | 'backward' | 'norm' | 'update';

/** How a step runs its micro-batches: each through the whole model, or all through one unit before the next. */
export type Accumulation = 'horizontal' | 'vertical';

/** One numbered moment of a step. Moments follow each other on the compute stream, never beside each other. */
export interface Moment {
  readonly index: number;
  readonly pass: Pass;
  /** -1 for `norm` and `update`. */
  readonly unit: number;
  /** -1 where all micro-batches are worked on (vertical, `norm`, `update`). */
  readonly microBatch: number;
  /** Chunks that must be on the GPU, in the order the unit touches them. */
  readonly chunks: readonly ChunkId[];
  /** Compute time without any waiting. */
  readonly seconds: number;
  /** Peak of everything on the GPU that is not a chunk: activations, workspace, gradients inside the unit. */
  readonly nonModelBytes: number;
  /** Backward: which of the unit's uses in the micro-batch. Without it uses are told apart by their order. */
  readonly use?: number;
}

/** What one traced step did: enough to plan the next one. Plain JSON. */
export interface Trace {
  readonly version: 1;
  /** Changes whenever the step's course changes: units, shapes, micro-batches, activation policy. */
  readonly signature: string;
  readonly mode: 'training' | 'forward';
  readonly accumulation: Accumulation;
  readonly microBatches: number;
  readonly moments: readonly Moment[];
}

/** Names a step's course. Any JSON value goes: unit order, input shapes, micro-batches, activation policy. */
export function stepSignature(course: unknown): string {
  return hashString(JSON.stringify(course)).toString(16).padStart(16, '0');
}
