/** Normalisation over features that a group's ranks hold parts of. */
import { ops, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { sumInGroup } from './operators.ts';

/**
 * `(x - mean) / √(variance + epsilon)` over `width` features, x `[..., width / g]`. In two passes, since E[x²] - E[x]² cancels; in
 * fp32 for half precision. Two all-reduces of a number per row forward, two backward.
 */
export function wideOf(x: Tensor, width: number, epsilon: number, group: Group): Tensor {
  const wide = x.dtype === 'float64' ? x : ops.to(x, { dtype: 'float32' });
  const rowSums = (part: Tensor): Tensor => ops.div(sumInGroup(ops.sum(part, [-1], true), group), width);
  const centred = ops.sub(wide, rowSums(wide));
  const variance = rowSums(ops.mul(centred, centred));
  return ops.to(ops.mul(centred, ops.rsqrt(ops.add(variance, epsilon))), { dtype: x.dtype });
}

/** `x / √(mean(x²) + epsilon)` likewise, with one all-reduce each way. Rounded to x's type before any weight, as Llama does. */
export function rootMeanSquareOf(x: Tensor, width: number, epsilon: number, group: Group): Tensor {
  const wide = x.dtype === 'float64' ? x : ops.to(x, { dtype: 'float32' });
  const mean = ops.div(sumInGroup(ops.sum(ops.mul(wide, wide), [-1], true), group), width);
  return ops.to(ops.mul(wide, ops.rsqrt(ops.add(mean, epsilon))), { dtype: x.dtype });
}
