/**
 * Tokens to experts and back. Every assignment (a token with one of its k experts) is a row of its own, moved by permutations: gradients
 * are never summed in an order that differs from run to run.
 *
 * Shapes: T tokens, k assignments each, E experts, C slots per expert.
 */
import { ops, type Tensor } from '../../tensor/index.ts';
import { operator } from '../../tensor/operator.ts';

const stableSort = operator<[Tensor, boolean, number, boolean], readonly [Tensor, Tensor]>(
  'aten::sort.stable(Tensor self, *, bool? stable, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)',
);
const scatter = operator<[Tensor, number, Tensor, Tensor], Tensor>(
  'aten::scatter.src(Tensor self, int dim, Tensor index, Tensor src) -> Tensor',
);

/**
 * Slots of an expert for T tokens: `k · factor · T / E`, rounded up to an even number, at least `least` (Fedus et al. 2021). A
 * fixed number per rank: the shapes do not depend on the router.
 */
export function capacityOf(tokens: number, k: number, experts: number, factor: number, least = 4): number {
  const wanted = Math.max(least, Math.ceil((k * factor * tokens) / experts));
  return wanted + (wanted % 2);
}

/** x `[T, width]` as the rows of its assignments, `[T · k, width]`. */
export function assignmentRows(x: Tensor, k: number): Tensor {
  const [tokens, width] = x.shape as readonly [number, number];
  return ops.reshape(ops.expand(ops.unsqueeze(x, 1), [tokens, k, width]), [tokens * k, width]);
}

/** Results of assignments `[T · k, width]` weighted `[T, k]` and summed per token: `[T, width]`. */
export function combineAssignments(results: Tensor, weights: Tensor): Tensor {
  const [tokens, k] = weights.shape as readonly [number, number];
  const byToken = ops.reshape(results, [tokens, k, results.size(1)]);
  return ops.sum(ops.mul(byToken, ops.unsqueeze(weights, 2)), [1]);
}

/** Every assignment in the order of its expert. */
export interface Sorted {
  /** `[T · k]`: which assignment stands there. */
  readonly order: Tensor;
  /** `[T · k]`: where each assignment stands. */
  readonly places: Tensor;
  /** Per expert; read on the host. */
  readonly counts: readonly number[];
}

/** experts int64 `[T, k]`. Waits for the device: the counts are shapes. */
export function sortByExpert(experts: Tensor, count: number): Sorted {
  const flat = ops.reshape(experts, [-1]);
  const [, order] = stableSort(flat, true, 0, false);
  const [, places] = stableSort(order, true, 0, false);
  const isEach = ops.eq(ops.reshape(flat, [-1, 1]), ops.arange(0, count, { device: flat.device }));
  return { order, places, counts: ops.toArray(ops.sum(ops.to(isEach, { dtype: 'int64' }), [0])) };
}

/** Where assignments are in `[E, C]` slots. */
export interface Slots {
  /** `[E · C]`: which assignment is there; T · k where none is. */
  readonly assignments: Tensor;
  /** `[T · k]`: in which slot each assignment is; E · C where it was dropped. */
  readonly slots: Tensor;
}

/**
 * Gives each assignment a slot of its expert while there are any: all tokens' first choices before their second, and so on; among them
 * earlier tokens first. experts int64 `[T, k]`.
 */
export function assignSlots(experts: Tensor, count: number, capacity: number): Slots {
  const [tokens, k] = experts.shape as readonly [number, number];
  const { device } = experts;
  const byPriority = ops.reshape(ops.transpose(experts, 0, 1), [-1]);
  const isEach = ops.to(ops.eq(ops.unsqueeze(byPriority, 1), ops.arange(0, count, { device })), { dtype: 'int64' });
  const before = ops.sum(ops.mul(ops.sub(ops.cumsum(isEach, 0), 1), isEach), [1]);
  const none = ops.full([], count * capacity, { dtype: 'int64', device });
  const slot = ops.where(ops.lt(before, capacity), ops.add(ops.mul(byPriority, capacity), before), none);
  const slots = ops.reshape(ops.transpose(ops.reshape(slot, [k, tokens]), 0, 1), [-1]);
  const empty = ops.full([count * capacity + 1], tokens * k, { dtype: 'int64', device });
  const filled = scatter(empty, 0, slots, ops.arange(0, tokens * k, { device }));
  return { assignments: ops.slice(filled, 0, 0, count * capacity), slots };
}

/** Rows of `x` `[n, width]` at `index`; index n gives zeros. */
export function rowsOrZeros(x: Tensor, index: Tensor): Tensor {
  const zeros = ops.zeros([1, x.size(1)], { dtype: x.dtype, device: x.device });
  return ops.indexSelect(ops.cat([x, zeros], 0), 0, index);
}
