/** Rings as operators with gradients: `native/src/dist/ring*.cc`. */
import type { Tensor } from '../../tensor/index.ts';
import { operator } from '../../tensor/operator.ts';

/**
 * `q · kᵀ` of this rank's queries with the keys of all: q `[b, h, t, d]`, k `[b, kv, t, d]` to `[b, h, t, p·t]`, keys in rank
 * order. Receives (p-1) blocks of k; backward as many, and a reduce-scatter of k's gradient.
 */
export const ringScores = operator<[Tensor, Tensor, number], Tensor>(
  'tierra::ring_scores(Tensor query, Tensor key, int group) -> Tensor',
);

/** Weights `[b, h, t, p·t]` times the values `[b, kv, t, d]` of all ranks: `[b, h, t, d]`. Communicates as `ringScores`. */
export const ringMix = operator<[Tensor, Tensor, number], Tensor>(
  'tierra::ring_mix(Tensor weights, Tensor value, int group) -> Tensor',
);

/**
 * Exact attention of this rank's queries `[b, h, t, d]` over the keys and values `[b, kv, t, d]` of all, `tile` query positions
 * at a time (0: as many as keep the scores below 2²⁴). `folds` 1: contiguous order, 2: zigzag.
 */
export const ringAttentionOperator = operator<
  [Tensor, Tensor, Tensor, number, boolean, number, number, number],
  Tensor
>(
  'tierra::ring_attention(Tensor query, Tensor key, Tensor value, int group, bool causal, float scale, int folds, int tile) -> Tensor',
);
