import { ops, type Tensor } from '../tensor/index.ts';
import { operator } from '../tensor/operator.ts';

/** logits `[..., classes]`, labels int64 `[...]`; positions labelled -100 count for nothing. Mean in nats. */
export function crossEntropy(logits: Tensor, labels: Tensor, options?: Parameters<typeof ops.crossEntropy>[2]): Tensor {
  return ops.crossEntropy(ops.reshape(logits, [-1, logits.size(-1)]), ops.reshape(labels, [-1]), options);
}

/** Mean of the squared differences. */
export function meanSquaredError(output: Tensor, target: Tensor): Tensor {
  const difference = ops.sub(output, target);
  return ops.mean(ops.mul(difference, difference));
}

const fused = operator<[Tensor, Tensor, Tensor, number], Tensor>(
  'tierra::linear_cross_entropy(Tensor hidden, Tensor weight, Tensor labels, int chunk) -> Tensor',
);

/** Logits held at a time, in elements: 128 Mi of fp32 are 512 MiB. */
const logitsPerChunk = 1 << 27;

/** Tokens of a chunk of the fused loss: whole tiles of a matrix product. */
export const lossTokensPerChunk = (vocabulary: number): number =>
  Math.max(128, Math.floor(logitsPerChunk / vocabulary / 128) * 128);

/**
 * `crossEntropy(hidden @ weightᵀ, labels)` over chunks of tokens: forward keeps one number per token, backward makes each
 * chunk's logits again. hidden `[..., width]`, weight `[vocabulary, width]`, labels int64 `[...]`.
 */
export function linearCrossEntropy(hidden: Tensor, weight: Tensor, labels: Tensor, tokensPerChunk?: number): Tensor {
  const rows = ops.reshape(hidden, [-1, hidden.size(-1)]);
  return fused(rows, weight, ops.reshape(labels, [-1]), tokensPerChunk ?? lossTokensPerChunk(weight.size(0)));
}
