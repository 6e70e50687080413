/** Communication of one transformer layer, forward and backward, in elements received per rank. */
import { type LinearShape, linearVolume, others, type TensorMode } from './linear.ts';

export interface LayerShape {
  /** Tokens of the micro-batch: batch times sequence. */
  readonly tokens: number;
  readonly hidden: number;
  /** Width of keys and values together over that of queries: 1 without grouped queries. */
  readonly keyValueShare?: number;
  /** Inner width of the MLP; default 4 hidden. */
  readonly inner?: number;
  /** A gate beside the MLP's first matrix, as in SwiGLU. */
  readonly gated?: boolean;
}

export type SequenceMode =
  | { readonly kind: 'split-gather'; readonly ranks: number; readonly saved: 'gathered' | 'split' }
  | { readonly kind: 'ulysses'; readonly ranks: number }
  | { readonly kind: 'ring'; readonly ranks: number };

export interface LayerVolume {
  /** For every micro-batch. */
  readonly perMicroBatch: number;
  /** Once per step: gradients of weights that every rank holds. */
  readonly perStep: number;
}

/** Query, key, value in one; output; first and second matrix of the MLP. */
export function linearsOf({
  tokens,
  hidden,
  keyValueShare = 1,
  inner = 4 * hidden,
  gated = false,
}: LayerShape): LinearShape[] {
  return [
    { tokens, inputs: hidden, outputs: hidden * (1 + 2 * keyValueShare), cut: 'column' },
    { tokens, inputs: hidden, outputs: hidden, cut: 'row' },
    { tokens, inputs: hidden, outputs: inner * (gated ? 2 : 1), cut: 'column' },
    { tokens, inputs: inner, outputs: hidden, cut: 'row' },
  ];
}

/** Elements of the layer's matrices. */
export const weightsOf = (shape: LayerShape): number =>
  linearsOf(shape).reduce((sum, { inputs, outputs }) => sum + inputs * outputs, 0);

/** Tensor parallelism, without norms and biases. */
export function tensorVolume(mode: TensorMode, shape: LayerShape): LayerVolume {
  let perMicroBatch = 0;
  for (const linear of linearsOf(shape)) {
    const { forward, inputGradient, weightGradient } = linearVolume(mode, linear);
    perMicroBatch += forward + inputGradient + weightGradient;
  }
  return { perMicroBatch, perStep: 0 };
}

/**
 * Sequence parallelism. `split-gather` lies on a 1D tensor group and takes the place of its all-reduces; its column layers
 * keep the gathered input or gather it again in backward. `ulysses` (Jacobs et al. 2023) and `ring` (Liu et al. 2023) hold
 * whole weights, whose gradients are summed once a step.
 */
export function sequenceVolume(mode: SequenceMode, shape: LayerShape): LayerVolume {
  const { tokens, hidden, keyValueShare = 1 } = shape;
  const whole = tokens * hidden;
  const away = others(mode.ranks);
  if (mode.kind === 'split-gather') {
    // Forward: a gather before each column layer, a scatter after each row layer; backward the same the other way round.
    const again = mode.saved === 'split' ? 2 : 0;
    return { perMicroBatch: (8 + again) * away * whole, perStep: 0 };
  }
  const perStep = 2 * away * weightsOf(shape);
  if (mode.kind === 'ulysses') {
    // Queries and outputs, keys and values: there and back, forward and backward, a p-th of each.
    return { perMicroBatch: ((4 + 4 * keyValueShare) * away * whole) / mode.ranks, perStep };
  }
  return { perMicroBatch: 6 * away * whole * keyValueShare, perStep };
}
