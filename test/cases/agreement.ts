/** Two ways to compute the same thing: values and all gradients must agree. */
import { expect } from 'vitest';
import { native } from '../../src/native/load.ts';
import { type Dtype, grad, ops, scope, type Tensor, withGrad } from '../../src/tensor/index.ts';
import { largestDifference } from './goldenModels.ts';

/** Normal deviates by name; the caller owns the tensor. */
export function deviates(seed: number, shape: readonly number[], dtype: Dtype = 'float64'): Tensor {
  return scope(() => {
    native().seed('cpu', BigInt(seed));
    const values = ops.empty(shape, { dtype: 'float64' });
    ops.normalInPlace(values, 0, 1);
    return ops.to(values, { dtype });
  }).keep();
}

/** Values and gradients of `body` with respect to `inputs`, for one fixed direction. */
export function valuesAndGradients(body: () => Tensor, inputs: readonly Tensor[]): number[][] {
  return scope(() => {
    const output = withGrad(body);
    const direction = deviates(77, output.shape, output.dtype);
    const gradients = inputs.length === 0 ? [] : grad([output], inputs, [direction]);
    const all = [output, ...gradients].map((tensor) => (tensor === null ? [] : ops.toArray(tensor)));
    direction.dispose();
    return all;
  });
}

/** `actual` and `expected` give the same values and the same gradients for `inputs`, within `tolerance`. */
export function expectAgreement(
  actual: () => Tensor,
  expected: () => Tensor,
  inputs: readonly Tensor[],
  tolerance = 1e-10,
): void {
  const [a, b] = [valuesAndGradients(actual, inputs), valuesAndGradients(expected, inputs)];
  for (const [index, values] of a.entries()) {
    const what = index === 0 ? 'values' : `gradient of input ${index - 1}`;
    expect(values.length, what).toBeGreaterThan(0);
    expect(largestDifference(values, b[index]!), what).toBeLessThanOrEqual(tolerance);
  }
}
