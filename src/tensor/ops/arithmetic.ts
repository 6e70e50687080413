/** Elementwise arithmetic. A number broadcasts; two tensors broadcast by libtorch's rules. */
import { operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';

const addTensor = operator<[Tensor, Tensor, number?], Tensor>(
  'aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor',
);
const addScalar = operator<[Tensor, number], Tensor>(
  'aten::add.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor',
);
const subTensor = operator<[Tensor, Tensor], Tensor>(
  'aten::sub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor',
);
const subScalar = operator<[Tensor, number], Tensor>(
  'aten::sub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor',
);
const mulTensor = operator<[Tensor, Tensor], Tensor>('aten::mul.Tensor(Tensor self, Tensor other) -> Tensor');
const mulScalar = operator<[Tensor, number], Tensor>('aten::mul.Scalar(Tensor self, Scalar other) -> Tensor');
const divTensor = operator<[Tensor, Tensor], Tensor>('aten::div.Tensor(Tensor self, Tensor other) -> Tensor');
const divScalar = operator<[Tensor, number], Tensor>('aten::div.Scalar(Tensor self, Scalar other) -> Tensor');
const eqTensor = operator<[Tensor, Tensor], Tensor>('aten::eq.Tensor(Tensor self, Tensor other) -> Tensor');
const eqScalar = operator<[Tensor, number], Tensor>('aten::eq.Scalar(Tensor self, Scalar other) -> Tensor');
const ltScalar = operator<[Tensor, number], Tensor>('aten::lt.Scalar(Tensor self, Scalar other) -> Tensor');
const geScalar = operator<[Tensor, number], Tensor>('aten::ge.Scalar(Tensor self, Scalar other) -> Tensor');
const addInPlaceTensor = operator<[Tensor, Tensor, number?], Tensor>(
  'aten::add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)',
);
const mulInPlaceScalar = operator<[Tensor, number], Tensor>(
  'aten::mul_.Scalar(Tensor(a!) self, Scalar other) -> Tensor(a!)',
);

export const add = (a: Tensor, b: Tensor | number): Tensor =>
  typeof b === 'number' ? addScalar(a, b) : addTensor(a, b);
export const sub = (a: Tensor, b: Tensor | number): Tensor =>
  typeof b === 'number' ? subScalar(a, b) : subTensor(a, b);
export const mul = (a: Tensor, b: Tensor | number): Tensor =>
  typeof b === 'number' ? mulScalar(a, b) : mulTensor(a, b);
export const div = (a: Tensor, b: Tensor | number): Tensor =>
  typeof b === 'number' ? divScalar(a, b) : divTensor(a, b);
export const eq = (a: Tensor, b: Tensor | number): Tensor => (typeof b === 'number' ? eqScalar(a, b) : eqTensor(a, b));
export const lt = (a: Tensor, b: number): Tensor => ltScalar(a, b);
export const ge = (a: Tensor, b: number): Tensor => geScalar(a, b);

/** `a += scale * b`, in place; returns nothing, `a` keeps its handle. */
export function addInPlace(a: Tensor, b: Tensor, scale = 1): void {
  addInPlaceTensor(a, b, scale).dispose();
}

/** `a *= factor`, in place. */
export function mulInPlace(a: Tensor, factor: number): void {
  mulInPlaceScalar(a, factor).dispose();
}

export const neg = operator<[Tensor], Tensor>('aten::neg(Tensor self) -> Tensor');
export const exp = operator<[Tensor], Tensor>('aten::exp(Tensor self) -> Tensor');
export const log = operator<[Tensor], Tensor>('aten::log(Tensor self) -> Tensor');
export const sqrt = operator<[Tensor], Tensor>('aten::sqrt(Tensor self) -> Tensor');
export const rsqrt = operator<[Tensor], Tensor>('aten::rsqrt(Tensor self) -> Tensor');
export const abs = operator<[Tensor], Tensor>('aten::abs(Tensor self) -> Tensor');
export const sin = operator<[Tensor], Tensor>('aten::sin(Tensor self) -> Tensor');
export const cos = operator<[Tensor], Tensor>('aten::cos(Tensor self) -> Tensor');
export const tanh = operator<[Tensor], Tensor>('aten::tanh(Tensor self) -> Tensor');
export const sigmoid = operator<[Tensor], Tensor>('aten::sigmoid(Tensor self) -> Tensor');
export const relu = operator<[Tensor], Tensor>('aten::relu(Tensor self) -> Tensor');
export const silu = operator<[Tensor], Tensor>('aten::silu(Tensor self) -> Tensor');
export const pow = operator<[Tensor, number], Tensor>(
  'aten::pow.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor',
);
export const isfinite = operator<[Tensor], Tensor>('aten::isfinite(Tensor self) -> Tensor');
/** Where `mask` is true, `value`. */
export const maskedFill = operator<[Tensor, Tensor, number], Tensor>(
  'aten::masked_fill.Scalar(Tensor self, Tensor mask, Scalar value) -> Tensor',
);
export const where = operator<[Tensor, Tensor, Tensor], Tensor>(
  'aten::where.self(Tensor condition, Tensor self, Tensor other) -> Tensor',
);

const geluOperator = operator<[Tensor, string], Tensor>("aten::gelu(Tensor self, *, str approximate='none') -> Tensor");
/** GELU (Hendrycks & Gimpel 2016); `tanh` is the approximation GPT-2 uses. */
export const gelu = (x: Tensor, approximate: 'none' | 'tanh' = 'none'): Tensor => geluOperator(x, approximate);
