/** Products of matrices. */
import { operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';

export const matmul = operator<[Tensor, Tensor], Tensor>('aten::matmul(Tensor self, Tensor other) -> Tensor');
export const mm = operator<[Tensor, Tensor], Tensor>('aten::mm(Tensor self, Tensor mat2) -> Tensor');
export const bmm = operator<[Tensor, Tensor], Tensor>('aten::bmm(Tensor self, Tensor mat2) -> Tensor');
export const outer = operator<[Tensor, Tensor], Tensor>('aten::outer(Tensor self, Tensor vec2) -> Tensor');
/** `bias + a @ b`, matrices. */
export const addmm = operator<[Tensor, Tensor, Tensor], Tensor>(
  'aten::addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1) -> Tensor',
);
/** `x @ weightᵀ + bias`: x `[..., in]`, weight `[out, in]`, bias `[out]`. */
export const linear = operator<[Tensor, Tensor, (Tensor | null)?], Tensor>(
  'aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor',
);
