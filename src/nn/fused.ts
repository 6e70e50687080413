/**
 * Layers' arithmetic as one operator each, from `native/src/nn`. On a GPU, in bf16, fp16 and fp32, they are kernels with
 * backward passes of their own; elsewhere the composition of libtorch's operators that their docstrings give.
 */
import type { Tensor } from '../tensor/index.ts';
import { operator } from '../tensor/operator.ts';

/**
 * `weight · round(x / √(mean(x²) + epsilon))` over the last dimension (Zhang & Sennrich 2019): fp32 inside, rounded to x's
 * type before the weight is applied. x `[..., width]`, weight `[width]`.
 */
export const rmsNorm = operator<[Tensor, Tensor, number], Tensor>(
  'tierra::rms_norm(Tensor x, Tensor weight, float epsilon) -> Tensor',
);

/** `x · cos + [-x₂, x₁] · sin` (Su et al. 2021): x `[batch, heads, length, size]`; cos, sin `[length, size]`, without gradient. */
export const rotary = operator<[Tensor, Tensor, Tensor], Tensor>(
  'tierra::rotary(Tensor x, Tensor cos, Tensor sin) -> Tensor',
);

/** `silu(gate) · up` (Shazeer 2020), shapes equal. */
export const swiglu = operator<[Tensor, Tensor], Tensor>('tierra::swiglu(Tensor gate, Tensor up) -> Tensor');
