/**
 * What collectives allocate beside their tensors. Over Gloo a sum over ranks is made from messages, in rank order: two that
 * are on their way, and a copy of this rank's own part where it is overwritten. A plan that watches one micro-batch must see it.
 */
import { type Dtype, noGrad, ops } from '../../tensor/index.ts';

/** Takes, for a moment, what the sum over `ranks` ranks of `elements` elements needs on each of them. */
export function touchWorkspace(
  elements: number,
  ranks: number,
  options: { readonly dtype: Dtype; readonly device: string },
): void {
  if (options.device !== 'cpu' || ranks === 1) return;
  noGrad(() => ops.empty([3 * Math.ceil(elements / ranks)], options)).dispose();
}
