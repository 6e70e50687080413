/** The micro-batch that units are described for. */
import type { SharedSequence } from './planAttention.ts';
import type { UnitOp } from './planOps.ts';

/** Sizes of one micro-batch. */
export interface BatchShape {
  /** On this rank. */
  readonly sequences: number;
  /** Tokens of each that are on this rank. */
  readonly length: number;
  /** Where other ranks have the sequences' other tokens; absent or null: nobody has. */
  readonly share?: SharedSequence | null;
  /** Ranks that the experts are spread over; absent: 1. */
  readonly expertRanks?: number;
  /** Parts that matrices are cut into: heads, hidden widths and the vocabulary are this rank's part. */
  readonly tensor: number;
  /** Where the width between layers is cut as well (2D to 3D), and products are made of blocks; absent or null: nowhere. */
  readonly blocks?: BlockShape | null;
  /** Bytes of an element of activations, and of the type that statistics and losses are computed in. */
  readonly elementBytes: number;
  readonly wideBytes: number;
  /** Norms, rotary positions, SwiGLU and the loss are kernels of their own: on a GPU, in types narrower than fp64. */
  readonly fused: boolean;
  /** What the device's allocator takes for a request. */
  readonly block: (bytes: number) => number;
}

/** A square, or layers of squares, or a cube of ranks. */
export interface BlockShape {
  readonly isCube: boolean;
  readonly edge: number;
  /** Of squares; 1 where there is one, or a cube. */
  readonly depth: number;
}

/** This rank's part of the width of what passes between layers. */
export const ownWidth = (width: number, { blocks = null }: Pick<BatchShape, 'blocks'>): number =>
  width / (blocks?.edge ?? 1);

/** y = x W (+ b) over `rows`; of a block [rows, from] and one of the weight [from, to], where ranks have blocks. */
export function linear(
  input: string,
  output: string,
  [rows, from, to]: readonly [number, number, number],
  { elementBytes, blocks = null }: BatchShape,
  bias: boolean,
): UnitOp {
  const op = {
    inputs: [input],
    output,
    bytes: rows * to * elementBytes,
    saves: [input],
    parameterGradientBytes: (from * to + (bias ? to : 0)) * elementBytes,
    macs: rows * from * to,
  };
  return blocks === null ? op : inBlocks(op, [rows, from, to], elementBytes, blocks, bias);
}

/**
 * SUMMA has two blocks of each operand on the way, and two of a result. On a cube both operands are gathered along an edge and stay so for
 * backward; results are summed from as many parts, and the rank's own part of the weight is a part of the block. Gradients of
 * weights that layers of squares share are summed in a copy.
 */
export function inBlocks(
  op: UnitOp,
  [rows, from, to]: readonly [number, number, number],
  elementBytes: number,
  { isCube, edge, depth }: BlockShape,
  bias: boolean,
): UnitOp {
  const [x, w, y] = [rows * from * elementBytes, from * to * elementBytes, rows * to * elementBytes] as const;
  const { macs = 0, savedBytes = 0, forwardWork = 0, backwardWork = 0, parameterGradientBytes = 0 } = op;
  if (!isCube) {
    return {
      ...op,
      macs: edge * macs,
      // The product before its bias.
      heldBytes: bias ? y : 0,
      forwardWork: forwardWork + 2 * (x + w),
      backwardWork: backwardWork + 2 * (x + w) + (depth > 1 ? w : 0),
    };
  }
  return {
    ...op,
    macs: edge * macs,
    saves: [],
    savedBytes: savedBytes + edge * x + w,
    heldBytes: (bias ? 2 : 1) * edge * y,
    forwardWork,
    backwardWork: backwardWork + edge * (x + y) + w,
    parameterGradientBytes: parameterGradientBytes / edge,
  };
}
