/** What layers are made of: normalisation, convolution, embedding, attention, losses. */
import { operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';

/** Rows of `weight` `[vocabulary, width]` by `indices` (int64, any shape). */
export const embedding = operator<[Tensor, Tensor], Tensor>(
  'aten::embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1, bool scale_grad_by_freq=False, bool sparse=False) -> Tensor',
);
/** Over the last `shape.length` dimensions (Ba, Kiros, Hinton 2016). */
export const layerNorm = operator<[Tensor, readonly number[], Tensor | null, Tensor | null, number], Tensor>(
  'aten::layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float eps=1e-05, bool cudnn_enable=True) -> Tensor',
);
export const groupNorm = operator<[Tensor, number, Tensor | null, Tensor | null, number], Tensor>(
  'aten::group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float eps=1e-05, bool cudnn_enabled=True) -> Tensor',
);
/** x `[batch, in, height, width]`, weight `[out, in / groups, kernel, kernel]`. */
export const conv2d = operator<
  [Tensor, Tensor, Tensor | null, readonly number[], readonly number[], readonly number[], number],
  Tensor
>(
  'aten::conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] dilation=[1, 1], SymInt groups=1) -> Tensor',
);
/** Zeroes elements with probability `p` and scales the rest by `1 / (1 - p)`; the device's default generator. */
export const dropout = operator<[Tensor, number, boolean], Tensor>(
  'aten::dropout(Tensor input, float p, bool train) -> Tensor',
);
/**
 * Attention with libtorch's best back end for the shape. query `[batch, heads, length, headSize]`, key and value
 * `[batch, kvHeads, keyLength, headSize]`; `enableGqa` repeats each key head for heads / kvHeads queries.
 */
export const scaledDotProductAttention = operator<
  [Tensor, Tensor, Tensor, Tensor | null, number, boolean, number | null, boolean],
  Tensor
>(
  'aten::scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0.0, bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> Tensor',
);

const crossEntropyOperator = operator<[Tensor, Tensor, Tensor | null, number, number, number], Tensor>(
  'aten::cross_entropy_loss(Tensor self, Tensor target, Tensor? weight=None, int reduction=1, SymInt ignore_index=-100, float label_smoothing=0.0) -> Tensor',
);
const reductions = { none: 0, mean: 1, sum: 2 } as const;
export type Reduction = keyof typeof reductions;

/** logits `[rows, classes]`, target int64 `[rows]`; rows whose target is `ignoreIndex` count for nothing. */
export const crossEntropy = (
  logits: Tensor,
  target: Tensor,
  options: { reduction?: Reduction; ignoreIndex?: number; labelSmoothing?: number } = {},
): Tensor =>
  crossEntropyOperator(
    logits,
    target,
    null,
    reductions[options.reduction ?? 'mean'],
    options.ignoreIndex ?? -100,
    options.labelSmoothing ?? 0,
  );
