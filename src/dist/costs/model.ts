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
  /** A mixture in place of each MLP: how many MLPs, how many of them a token goes to, and their slots (absent: as many as needed). */
  readonly experts?: { readonly count: number; readonly perToken: number; readonly capacityFactor?: number };
}

export const layerShape = ({ hidden, heads, keyValueHeads, inner, gated }: ModelShape, tokens: number): LayerShape => ({
  tokens,
  hidden,
  keyValueShare: keyValueHeads / heads,
  inner,
  gated,
});

/** Parameters of one layer, those of its experts among them, and of embedding and head. Norms and biases are left out. */
export function parametersOf(model: ModelShape): {
  readonly layer: number;
  readonly experts: number;
  readonly ends: number;
  readonly total: number;
} {
  const { attention, mlp } = partsOf(model);
  const experts = model.experts === undefined ? 0 : model.experts.count * mlp;
  const layer = attention + (model.experts === undefined ? mlp : experts);
  const ends = model.vocabulary * model.hidden * (model.tied ? 1 : 2);
  return { layer, experts, ends, total: model.layers * layer + ends };
}

/** Elements of the matrices of one layer's attention, and of one MLP. */
function partsOf(model: ModelShape): { readonly attention: number; readonly mlp: number } {
  const mlp = model.hidden * model.inner * (model.gated ? 3 : 2);
  return { attention: weightsOf(layerShape(model, 1)) - mlp, mlp };
}

/**
 * Floating-point operations of forward and backward over `tokens` tokens in sequences of `sequence`: 6 for each parameter
 * that a token is multiplied with, and causal attention. Recomputing adds a forward.
 */
export function stepFlops(model: ModelShape, tokens: number, sequence: number, recompute: boolean): number {
  const { attention: inAttention, mlp } = partsOf(model);
  const layer = inAttention + mlp * (model.experts?.perToken ?? 1);
  const matmuls = model.layers * layer + model.vocabulary * model.hidden;
  // Scores and mixing: 2 matmuls of s x s x h a layer and sequence, half of it behind the causal mask.
  const attention = model.layers * model.hidden * sequence * 2;
  const forward = tokens * (2 * matmuls + attention);
  const again = tokens * model.layers * (2 * layer + model.hidden * sequence * 2);
  return 3 * forward + (recompute ? again : 0);
}
