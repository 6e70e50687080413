/** The plain references of the fused layers: libtorch's operators one by one, as the layers first composed them. */
import { ops, type Tensor } from '../../src/tensor/index.ts';

export function plainRmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  const { dtype } = x;
  const wide = dtype === 'float64' ? x : ops.to(x, { dtype: 'float32' });
  const meanSquare = ops.mean(ops.mul(wide, wide), [-1], true);
  const normal = ops.mul(wide, ops.rsqrt(ops.add(meanSquare, epsilon)));
  return ops.mul(weight, ops.to(normal, { dtype }));
}

export function plainRotary(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const half = x.size(3) / 2;
  const rotated = ops.cat([ops.neg(ops.slice(x, 3, half, 2 * half)), ops.slice(x, 3, 0, half)], 3);
  return ops.add(ops.mul(x, cos), ops.mul(rotated, sin));
}

export const plainSwiglu = (gate: Tensor, up: Tensor): Tensor => ops.mul(ops.silu(gate), up);
