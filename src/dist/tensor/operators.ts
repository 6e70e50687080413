/**
 * Collectives as operators with gradients, usable inside units: `native/src/dist`. Each names its dual: what backward does.
 * Every rank of the group calls them in the same order, also in backward, which libtorch walks in one order for one graph.
 */
import { TierraError } from '../../core/errors.ts';
import type { Tensor } from '../../tensor/index.ts';
import { operator } from '../../tensor/operator.ts';
import type { Group } from '../group.ts';
import { NativeGroup } from '../nativeGroup.ts';

const schema = {
  copy: operator<[Tensor, number], Tensor>('tierra::copy_to_group(Tensor x, int group) -> Tensor'),
  reduce: operator<[Tensor, number], Tensor>('tierra::reduce_from_group(Tensor x, int group) -> Tensor'),
  sum: operator<[Tensor, number], Tensor>('tierra::sum_in_group(Tensor x, int group) -> Tensor'),
  max: operator<[Tensor, number], Tensor>('tierra::max_in_group(Tensor x, int group) -> Tensor'),
  gather: operator<[Tensor, number, number, boolean], Tensor>(
    'tierra::gather_from_group(Tensor x, int group, int dim, bool sum_gradients) -> Tensor',
  ),
  scatter: operator<[Tensor, number, number], Tensor>(
    'tierra::scatter_to_group(Tensor x, int group, int dim) -> Tensor',
  ),
  reduceScatter: operator<[Tensor, number, number], Tensor>(
    'tierra::reduce_scatter_to_group(Tensor x, int group, int dim) -> Tensor',
  ),
  allToAll: operator<[Tensor, number, number, number], Tensor>(
    'tierra::all_to_all_in_group(Tensor x, int group, int scatter_dim, int gather_dim) -> Tensor',
  ),
  allToAllRows: operator<[Tensor, number, readonly number[], readonly number[]], Tensor>(
    'tierra::all_to_all_rows(Tensor x, int group, int[] into, int[] from) -> Tensor',
  ),
  shift: operator<[Tensor, number, number], Tensor>(
    'tierra::shift_in_group(Tensor x, int group, int offset) -> Tensor',
  ),
  biasOnce: operator<[Tensor, Tensor, boolean], Tensor>(
    'tierra::add_bias_once(Tensor x, Tensor bias, bool here) -> Tensor',
  ),
  summaAB: operator<[Tensor, Tensor, number, number], Tensor>(
    'tierra::summa_ab(Tensor a, Tensor b, int row, int column) -> Tensor',
  ),
  summaABt: operator<[Tensor, Tensor, number, number], Tensor>(
    'tierra::summa_abt(Tensor a, Tensor b, int row, int column) -> Tensor',
  ),
  crossEntropy: operator<[Tensor, Tensor, number, number], Tensor>(
    'tierra::parallel_cross_entropy(Tensor logits, Tensor targets, int first, int group) -> Tensor',
  ),
};

function idOf(group: Group): number {
  if (group instanceof NativeGroup) return group.id as number;
  throw new TierraError('E_ARGUMENT', `group "${group.name}" was not made by a communicator`);
}

/** The same tensor, which all ranks of the group use from here on; backward: all-reduce. */
export const copyToGroup = (x: Tensor, group: Group): Tensor => schema.copy(x, idOf(group));
/** All-reduce; backward: the gradient as it is, since the result is one and the same everywhere. */
export const reduceFromGroup = (x: Tensor, group: Group): Tensor => schema.reduce(x, idOf(group));
/** All-reduce of what each rank then uses in its own way; backward: all-reduce. */
export const sumInGroup = (x: Tensor, group: Group): Tensor => schema.sum(x, idOf(group));
/** Element-wise maximum, without gradient. */
export const maxInGroup = (x: Tensor, group: Group): Tensor => schema.max(x, idOf(group));
/**
 * Parts put side by side along `dim`. Backward: reduce-scatter where ranks use the result in different ways
 * (`sumGradients`), own part where all use it alike.
 */
export const gatherFromGroup = (x: Tensor, group: Group, dim: number, sumGradients: boolean): Tensor =>
  schema.gather(x, idOf(group), dim, sumGradients);
/** Own part along `dim` of what all ranks hold; backward: all-gather. */
export const scatterToGroup = (x: Tensor, group: Group, dim: number): Tensor => schema.scatter(x, idOf(group), dim);
/** Own part along `dim` of the sum; backward: all-gather. */
export const reduceScatterToGroup = (x: Tensor, group: Group, dim: number): Tensor =>
  schema.reduceScatter(x, idOf(group), dim);
/** Part p along `scatterDim` goes to position p; what arrives is put side by side along `gatherDim`. Backward: the reverse. */
export const allToAllInGroup = (x: Tensor, group: Group, scatterDim: number, gatherDim: number): Tensor =>
  schema.allToAll(x, idOf(group), scatterDim, gatherDim);
/** `from[p]` rows of x go to position p, `into[p]` rows come from it. Backward: the reverse. */
export const allToAllRows = (x: Tensor, group: Group, into: readonly number[], from: readonly number[]): Tensor =>
  schema.allToAllRows(x, idOf(group), into, from);
/** x goes `offset` positions up the ring, and that of `offset` positions down arrives. Backward: the other way. */
export const shiftInGroup = (x: Tensor, group: Group, offset: number): Tensor => schema.shift(x, idOf(group), offset);
/** x `[..., n]` is about to be summed over ranks: adds the bias on one of them. Its gradient is the whole one on each. */
export const addBiasOnce = (x: Tensor, bias: Tensor, here: boolean): Tensor => schema.biasOnce(x, bias, here);
/** `A·B` on a square of ranks, each holding one block of every matrix. */
export const summaAB = (a: Tensor, b: Tensor, row: Group, column: Group): Tensor =>
  schema.summaAB(a, b, idOf(row), idOf(column));
/** `A·Bᵀ` likewise. */
export const summaABt = (a: Tensor, b: Tensor, row: Group, column: Group): Tensor =>
  schema.summaABt(a, b, idOf(row), idOf(column));
/**
 * Loss of each token in nats, 0 where the target is -100: logits `[tokens, columns]`, the group's ranks holding different
 * columns, here from `first` on; targets int64 `[tokens]`, the same on all ranks.
 */
export const parallelCrossEntropy = (logits: Tensor, targets: Tensor, first: number, group: Group): Tensor =>
  schema.crossEntropy(logits, targets, first, idOf(group));
