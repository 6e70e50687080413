/** What the rows of these tables train on: nothing that takes time to make. */
import type { TokenBatch } from '../../src/models/index.ts';
import { type Dtype, ops, type Tensor } from '../../src/tensor/index.ts';

/** First values made on the device, normal where a parameter has several dimensions: a benchmark need not wait for keyed ones. */
export const quickValues =
  (dtype: Dtype, device: string) =>
  (parameter: { readonly shape: readonly number[] }): Tensor => {
    const tensor = ops.empty(parameter.shape, { dtype, device });
    if (parameter.shape.length === 1) ops.fillInPlace(tensor, 1);
    else ops.normalInPlace(tensor, 0, 0.02);
    return tensor;
  };

let state = 1;
/** The generator of Park and Miller (1988): ranks that work on one batch draw the same. */
function draw(): number {
  state = (state * 48_271) % 2_147_483_647;
  return state;
}

/** `[batch, length]` random tokens, each its own label. */
export function randomTokens(batch: number, length: number, vocabulary: number, device: string): TokenBatch {
  const data = BigInt64Array.from({ length: batch * length }, () => BigInt(draw() % vocabulary));
  const ids = ops.fromArray(data, [batch, length], { device });
  return { ids, labels: ids };
}
