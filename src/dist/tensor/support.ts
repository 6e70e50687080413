/** What the layers of all modes share. */
import { type init, Parameter } from '../../nn/index.ts';
import { uniform } from '../../nn/init.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { type Groups, type Layout, wholeOf } from './layout.ts';
import { reduceFromGroup } from './operators.ts';

/** This rank's part of a parameter; its first values are its part of the whole's. */
export function partParameter(
  layout: Layout,
  initial: init.Initializer,
  groups: Groups,
  what: string,
  sections?: readonly number[],
): Parameter {
  return Parameter.part(wholeOf(layout, groups, what, sections), initial);
}

/** How a linear layer's weight is kept. */
export interface LinearStorage {
  /** Default `[in, out]`. */
  readonly stored?: 'in-out' | 'out-in';
  /** Equal sections of the outputs side by side, each cut by itself, e.g. query, key and value. Default 1. */
  readonly sections?: number;
}

/** The layout of a weight `[in, out]`, and the sections of its dimensions, as it is stored. */
export function storedAs(
  stored: 'in-out' | 'out-in',
  { shape, cuts }: Layout,
  sections: number,
): { readonly layout: Layout; readonly sections: readonly number[] } {
  return stored === 'in-out'
    ? { layout: { shape, cuts }, sections: [1, sections] }
    : { layout: { shape: [...shape].reverse(), cuts: [...cuts].reverse() }, sections: [sections, 1] };
}

/** libtorch's default for linear layers, weights and biases alike. */
export const linearInit = (inFeatures: number): init.Initializer => {
  const bound = 1 / Math.sqrt(inFeatures);
  return uniform(-bound, bound);
};

/** `[..., n]` as `[rows, n]`. */
export const rowsOf = (x: Tensor): Tensor => ops.reshape(x, [-1, x.size(-1)]);

/** `[rows, n]` back to x's leading dimensions. */
export const likeRowsOf = (rows: Tensor, x: Tensor): Tensor =>
  ops.reshape(rows, [...x.shape.slice(0, -1), rows.size(-1)]);

/** Rows of a table that holds ids `first` to `first + rows`; zeros for other ids. */
export function maskedRows(table: Tensor, ids: Tensor, first: number): Tensor {
  const local = ops.sub(ids, first);
  const inside = ops.mul(ops.ge(local, 0), ops.lt(local, table.size(0)));
  const rows = ops.embedding(table, ops.mul(local, ops.to(inside, { dtype: 'int64' })));
  return ops.mul(rows, ops.unsqueeze(ops.to(inside, { dtype: rows.dtype }), -1));
}

/**
 * Mean of the losses of all tokens that have one, of which the ranks of `groups` hold different ones. NaN where there are none; its
 * gradient is zero then, so that a rank without labels can weigh it with nothing.
 */
export function meanLoss(losses: Tensor, targets: Tensor, groups: readonly Group[]): Tensor {
  const counted = ops.sub(
    ops.ones(targets.shape, { dtype: losses.dtype, device: losses.device }),
    ops.to(ops.eq(targets, -100), { dtype: losses.dtype }),
  );
  let both = ops.stack([ops.sum(losses), ops.sum(counted)], 0);
  for (const group of groups) both = reduceFromGroup(both, group);
  const count = ops.detach(ops.select(both, 0, 1));
  const isSome = ops.ge(count, 0.5);
  const divisor = ops.where(isSome, count, ops.ones([], { dtype: count.dtype, device: count.device }));
  const none = ops.full([], Number.NaN, { dtype: count.dtype, device: count.device });
  return ops.where(isSome, ops.div(ops.select(both, 0, 0), divisor), none);
}
