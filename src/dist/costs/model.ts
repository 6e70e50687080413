/** Sizes of a decoder-only model, as the cost formulas take them. */
import { type LayerShape, weightsOf } from './layer.ts';

export interface ModelShape {
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly inner: number;
  readonly gated: boolean;
  readonly vocabulary: number;
  /** Head and embedding share their table. */
  readonly tied: boolean;
}

export const layerShape = ({ hidden, heads, keyValueHeads, inner, gated }: ModelShape, tokens: number): LayerShape => ({
  tokens,
  hidden,
  keyValueShare: keyValueHeads / heads,
  inner,
  gated,
});

/** Parameters of one layer, of the embedding and of the head. Norms and biases are left out. */
export function parametersOf(model: ModelShape): {
  readonly layer: number;
  readonly ends: number;
  readonly total: number;
} {
  const layer = weightsOf(layerShape(model, 1));
  const ends = model.vocabulary * model.hidden * (model.tied ? 1 : 2);
  return { layer, ends, total: model.layers * layer + ends };
}

/**
 * Floating-point operations of forward and backward over `tokens` tokens in sequences of `sequence`: 6 for each parameter
 * that a token is multiplied with, and causal attention. Recomputing adds a forward.
 */
export function stepFlops(model: ModelShape, tokens: number, sequence: number, recompute: boolean): number {
  const { layer } = parametersOf(model);
  const matmuls = model.layers * layer + model.vocabulary * model.hidden;
  // Scores and mixing: 2 matmuls of s x s x h a layer and sequence, half of it behind the causal mask.
  const attention = model.layers * model.hidden * sequence * 2;
  const forward = tokens * (2 * matmuls + attention);
  const again = tokens * model.layers * (2 * layer + model.hidden * sequence * 2);
  return 3 * forward + (recompute ? again : 0);
}
