/** The micro-batch that units are described for. */
import type { SharedSequence } from './planAttention.ts';
import type { UnitOp } from './planOps.ts';

/** Sizes of one micro-batch. */
export interface BatchShape {
  readonly sequences: number;
  /** Tokens of each that are on this rank. */
  readonly length: number;
  /** Where other ranks have the sequences' other tokens; absent or null: nobody has. */
  readonly share?: SharedSequence | null;
  /** Ranks that the experts are spread over; absent: 1. */
  readonly expertRanks?: number;
  /** Ranks that the matrices are cut over (1D): heads, hidden widths and the vocabulary are this rank's part. */
  readonly tensor: number;
  /** Bytes of an element of activations, and of the type that statistics and losses are computed in. */
  readonly elementBytes: number;
  readonly wideBytes: number;
  /** Norms, rotary positions, SwiGLU and the loss are kernels of their own: on a GPU, in types narrower than fp64. */
  readonly fused: boolean;
  /** What the device's allocator takes for a request. */
  readonly block: (bytes: number) => number;
}

/** y = x W (+ b) over `rows`. */
export function linear(
  input: string,
  output: string,
  [rows, from, to]: readonly [number, number, number],
  { elementBytes }: BatchShape,
  bias: boolean,
): UnitOp {
  return {
    inputs: [input],
    output,
    bytes: rows * to * elementBytes,
    saves: [input],
    parameterGradientBytes: (from * to + (bias ? to : 0)) * elementBytes,
    macs: rows * from * to,
  };
}
