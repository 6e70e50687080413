/**
 * Initialisers fill a new tensor from the device's default generator, which the caller has seeded for the parameter:
 * a parameter's values depend on the seed and its name only, never on the order or place of initialisation.
 */
import { ops, type Tensor } from '../tensor/index.ts';

export type Initializer = (tensor: Tensor) => void;

export const zeros: Initializer = (tensor) => ops.zeroInPlace(tensor);
export const ones: Initializer = (tensor) => ops.fillInPlace(tensor, 1);

export const constant =
  (value: number): Initializer =>
  (tensor) =>
    ops.fillInPlace(tensor, value);

export const normal =
  (std: number, mean = 0): Initializer =>
  (tensor) =>
    ops.normalInPlace(tensor, mean, std);

export const uniform =
  (from: number, to: number): Initializer =>
  (tensor) =>
    ops.uniformInPlace(tensor, from, to);

/** Inputs of one output: all dimensions but the first, as in `[out, in]` and `[out, in, kh, kw]`. */
export function fanIn(shape: readonly number[]): number {
  return shape.slice(1).reduce((product, size) => product * size, 1);
}

/** `U(-b, b)` with `b = gain · sqrt(3 / fanIn)` (He et al. 2015); gain 1/√3 is libtorch's default for linear layers. */
export const kaimingUniform =
  (gain = Math.SQRT2): Initializer =>
  (tensor) => {
    const bound = gain * Math.sqrt(3 / fanIn(tensor.shape));
    ops.uniformInPlace(tensor, -bound, bound);
  };

/** `U(-b, b)` with `b = gain · sqrt(6 / (fanIn + fanOut))` (Glorot & Bengio 2010). */
export const xavierUniform =
  (gain = 1): Initializer =>
  (tensor) => {
    const receptive = tensor.shape.slice(2).reduce((product, size) => product * size, 1);
    const bound = gain * Math.sqrt(6 / (fanIn(tensor.shape) + tensor.size(0) * receptive));
    ops.uniformInPlace(tensor, -bound, bound);
  };
