/** Sums, means, extremes, sampling. */
import type { Dtype } from '../dtype.ts';
import { operator, scalarType } from '../operator.ts';
import type { Tensor } from '../tensor.ts';

const sumAll = operator<[Tensor], Tensor>('aten::sum(Tensor self, *, ScalarType? dtype=None) -> Tensor');
const sumDims = operator<[Tensor, readonly number[], boolean], Tensor>(
  'aten::sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor',
);
const meanAll = operator<[Tensor], Tensor>('aten::mean(Tensor self, *, ScalarType? dtype=None) -> Tensor');
const meanDims = operator<[Tensor, readonly number[], boolean], Tensor>(
  'aten::mean.dim(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor',
);

/** Over all elements, or over `dims`. */
export const sum = (x: Tensor, dims?: readonly number[], keepDims = false): Tensor =>
  dims === undefined ? sumAll(x) : sumDims(x, dims, keepDims);
export const mean = (x: Tensor, dims?: readonly number[], keepDims = false): Tensor =>
  dims === undefined ? meanAll(x) : meanDims(x, dims, keepDims);

export const maxAll = operator<[Tensor], Tensor>('aten::max(Tensor self) -> Tensor');
export const argmax = operator<[Tensor, number], Tensor>(
  'aten::argmax(Tensor self, int? dim=None, bool keepdim=False) -> Tensor',
);
/** `[values, indices]` of the `k` largest along `dim`, in descending order. */
export const topk = operator<[Tensor, number, number?], readonly [Tensor, Tensor]>(
  'aten::topk(Tensor self, SymInt k, int dim=-1, bool largest=True, bool sorted=True) -> (Tensor values, Tensor indices)',
);
/** `[values, indices]` along `dim`. */
export const sort = operator<[Tensor, number, boolean], readonly [Tensor, Tensor]>(
  'aten::sort(Tensor self, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)',
);
export const cumsum = operator<[Tensor, number], Tensor>(
  'aten::cumsum(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor',
);
export const logsumexp = operator<[Tensor, readonly number[], boolean?], Tensor>(
  'aten::logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor',
);

const softmaxOperator = operator<[Tensor, number, number | undefined], Tensor>(
  'aten::softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor',
);
const logSoftmaxOperator = operator<[Tensor, number, number | undefined], Tensor>(
  'aten::log_softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor',
);
export const softmax = (x: Tensor, dim: number, dtype?: Dtype): Tensor => softmaxOperator(x, dim, scalarType(dtype));
export const logSoftmax = (x: Tensor, dim: number, dtype?: Dtype): Tensor =>
  logSoftmaxOperator(x, dim, scalarType(dtype));

/** Draws `samples` indices per row from unnormalised probabilities, with the device's default generator. */
export const multinomial = operator<[Tensor, number], Tensor>(
  'aten::multinomial(Tensor self, SymInt num_samples, bool replacement=False, *, Generator? generator=None) -> Tensor',
);
