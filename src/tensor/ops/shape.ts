/** Views and rearrangements: no arithmetic. */
import { operator } from '../operator.ts';
import type { Tensor } from '../tensor.ts';

/** A view with other sizes; one of them may be -1. Copies only when strides demand it. */
export const reshape = operator<[Tensor, readonly number[]], Tensor>(
  'aten::reshape(Tensor(a) self, SymInt[] shape) -> Tensor(a)',
);
export const view = operator<[Tensor, readonly number[]], Tensor>(
  'aten::view(Tensor(a) self, SymInt[] size) -> Tensor(a)',
);
export const transpose = operator<[Tensor, number, number], Tensor>(
  'aten::transpose.int(Tensor(a) self, int dim0, int dim1) -> Tensor(a)',
);
export const permute = operator<[Tensor, readonly number[]], Tensor>(
  'aten::permute(Tensor(a) self, int[] dims) -> Tensor(a)',
);
export const contiguous = operator<[Tensor], Tensor>(
  'aten::contiguous(Tensor(a) self, *, MemoryFormat memory_format=0) -> Tensor(a)',
);
export const expand = operator<[Tensor, readonly number[]], Tensor>(
  'aten::expand(Tensor(a) self, SymInt[] size, *, bool implicit=False) -> Tensor(a)',
);
export const unsqueeze = operator<[Tensor, number], Tensor>('aten::unsqueeze(Tensor(a) self, int dim) -> Tensor(a)');
export const squeeze = operator<[Tensor, number], Tensor>('aten::squeeze.dim(Tensor(a) self, int dim) -> Tensor(a)');
export const flatten = operator<[Tensor, number?, number?], Tensor>(
  'aten::flatten.using_ints(Tensor(a) self, int start_dim=0, int end_dim=-1) -> Tensor(a)',
);
/** Elements `start` to `end` (exclusive) along `dim`. */
export const slice = operator<[Tensor, number, number, number], Tensor>(
  'aten::slice.Tensor(Tensor(a) self, int dim=0, SymInt? start=None, SymInt? end=None, SymInt step=1) -> Tensor(a)',
);
/** One position along `dim`; the dimension goes. */
export const select = operator<[Tensor, number, number], Tensor>(
  'aten::select.int(Tensor(a) self, int dim, SymInt index) -> Tensor(a)',
);
export const cat = operator<[readonly Tensor[], number], Tensor>('aten::cat(Tensor[] tensors, int dim=0) -> Tensor');
export const stack = operator<[readonly Tensor[], number], Tensor>(
  'aten::stack(Tensor[] tensors, int dim=0) -> Tensor',
);
/** `chunks` pieces of equal size along `dim` (the last may be shorter). */
export const chunk = operator<[Tensor, number, number], readonly Tensor[]>(
  'aten::chunk(Tensor(a -> *) self, int chunks, int dim=0) -> Tensor(a)[]',
);
/** Pieces of the given sizes along `dim`. */
export const split = operator<[Tensor, readonly number[], number], readonly Tensor[]>(
  'aten::split_with_sizes(Tensor(a -> *) self, SymInt[] split_sizes, int dim=0) -> Tensor(a)[]',
);
export const repeatInterleave = operator<[Tensor, number, number], Tensor>(
  'aten::repeat_interleave.self_int(Tensor self, SymInt repeats, int? dim=None, *, SymInt? output_size=None) -> Tensor',
);
export const gather = operator<[Tensor, number, Tensor], Tensor>(
  'aten::gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> Tensor',
);
export const indexSelect = operator<[Tensor, number, Tensor], Tensor>(
  'aten::index_select(Tensor self, int dim, Tensor index) -> Tensor',
);
export const tril = operator<[Tensor, number?], Tensor>('aten::tril(Tensor self, SymInt diagonal=0) -> Tensor');
export const triu = operator<[Tensor, number?], Tensor>('aten::triu(Tensor self, SymInt diagonal=0) -> Tensor');
