/** Fused layers where no kernel of ours runs: the bits of the composition they stand for, forward and backward. */
import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { rmsNorm, rotary, swiglu } from '../../src/nn/fused.ts';
import { type Dtype, grad, ops, scope, type Tensor, withGrad } from '../../src/tensor/index.ts';
import { plainRmsNorm, plainRotary, plainSwiglu } from './kernelsPlain.ts';

const leaf = (shape: readonly number[], dtype: Dtype, seed: number): Tensor => {
  native().seed('cpu', BigInt(seed));
  const x = ops.empty(shape, { dtype });
  ops.normalInPlace(x, 0, 1);
  native().setRequiresGrad(x.handle, true);
  return x;
};

function expectSame(fused: (...x: Tensor[]) => Tensor, plain: (...x: Tensor[]) => Tensor, inputs: Tensor[]): void {
  const run = (body: (...x: Tensor[]) => Tensor) =>
    withGrad(() => {
      const out = body(...inputs);
      native().seed('cpu', 77n);
      const weights = ops.empty(out.shape, { dtype: out.dtype });
      ops.normalInPlace(weights, 0, 1);
      return [out, ...grad([out], inputs, [weights])].map((tensor) => ops.toBytes(ops.detach(tensor!)));
    });
  expect(run(fused)).toEqual(run(plain));
}

describe.each(['float32', 'bfloat16', 'float64'] as const)('%s', (dtype) => {
  it('RMSNorm', () => {
    scope(() => {
      for (const shape of [
        [3, 64],
        [2, 3, 33],
      ]) {
        const inputs = [leaf(shape, dtype, 1), leaf([shape.at(-1)!], dtype, 2)];
        expectSame(
          (x, w) => rmsNorm(x!, w!, 1e-6),
          (x, w) => plainRmsNorm(x!, w!, 1e-6),
          inputs,
        );
      }
    });
  });

  it('rotary positions', () => {
    scope(() => {
      const table = (f: (x: number) => number) =>
        ops.fromArray(
          Float32Array.from({ length: 5 * 16 }, (_, i) => f(i)),
          [5, 16],
          { dtype },
        );
      const [cos, sin] = [table(Math.cos), table(Math.sin)];
      const x = leaf([2, 3, 5, 16], dtype, 3);
      expectSame(
        (x) => rotary(x!, cos, sin),
        (x) => plainRotary(x!, cos, sin),
        [x],
      );
    });
  });

  it('SwiGLU', () => {
    scope(() => {
      const inputs = [leaf([4, 7], dtype, 4), leaf([4, 7], dtype, 5)];
      expectSame(
        (gate, up) => swiglu(gate!, up!),
        (gate, up) => plainSwiglu(gate!, up!),
        inputs,
      );
    });
  });
});
