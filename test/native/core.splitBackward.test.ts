/** Backward in two halves: the bits of one whole backward, nothing computed twice, nothing left behind. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { grad, gradInputs, ops, scope, type Tensor } from '../../src/tensor/index.ts';

const hex = (tensor: Tensor | null): string | null =>
  tensor === null ? null : Buffer.from(ops.toBytes(ops.contiguous(tensor))).toString('hex');

const random = (shape: number[], seed: number): Tensor => {
  const made = ops.empty(shape);
  native().seed('cpu', BigInt(seed));
  ops.normalInPlace(made, 0, 1);
  return made;
};
const leaf = (shape: number[], seed: number): Tensor => random(shape, seed).requireGrad();

/** Gradients of `build`'s output by one whole backward and by two halves, the second half after `between`. */
function both(
  build: (inputs: Tensor[], weights: Tensor[]) => Tensor[],
  inputs: Tensor[],
  weights: Tensor[],
): { whole: (string | null)[]; halves: (string | null)[] } {
  return scope(() => {
    const seeds = (outputs: Tensor[]): Tensor[] =>
      outputs.map((output, index) => random([...output.shape], 90 + index));
    const first = build(inputs, weights);
    const whole = grad(first, [...inputs, ...weights], seeds(first)).map(hex);
    const again = build(inputs, weights);
    const { gradients, deferred } = gradInputs(again, inputs, weights, seeds(again));
    const inputBits = gradients.map(hex);
    return { whole, halves: [...inputBits, ...deferred.take().map(hex)] };
  });
}

describe('backward in two halves', () => {
  it('a transformer-like block, bit for bit', () => {
    scope(() => {
      const x = leaf([2, 5, 8], 1);
      const weights = [leaf([8], 2), leaf([8], 3), leaf([8, 24], 4), leaf([24], 5), leaf([24, 8], 6), leaf([8], 7)];
      const block = ([input]: Tensor[], [gamma, beta, a, b, c, d]: Tensor[]): Tensor[] => {
        const normed = ops.layerNorm(input!, [8], gamma!, beta!, 1e-5);
        const inner = ops.gelu(ops.add(ops.matmul(normed, a!), b!), 'tanh');
        return [ops.add(input!, ops.add(ops.matmul(inner, c!), d!))];
      };
      const { whole, halves } = both(block, [x], weights);
      expect(halves).toEqual(whole);
      expect(whole).not.toContain(null);
    });
    expect(native().liveDeferred()).toBe(0);
  });

  it('weights used twice, weights of one input path alone, unused ones, and outputs without inputs', () => {
    scope(() => {
      const [x, y] = [leaf([3, 4], 1), leaf([3, 4], 2)];
      const [twice, once, unused, table] = [leaf([4, 4], 3), leaf([4, 4], 4), leaf([2], 5), leaf([3, 4], 6)];
      const build = ([a, b]: Tensor[], [w, v, , t]: Tensor[]): Tensor[] => [
        ops.matmul(ops.tanh(ops.matmul(a!, w!)), w!),
        ops.mul(b!, ops.tanh(ops.matmul(t!, v!))),
        ops.mul(t!, 3),
      ];
      const { whole, halves } = both(build, [x, y], [twice, once, unused, table]);
      expect(halves).toEqual(whole);
      expect(whole[4]).toBeNull();
    });
  });

  it('without inputs everything waits', () => {
    scope(() => {
      const table = leaf([5, 4], 1);
      const ids = ops.fromArray([1, 3, 3], [3], { dtype: 'int64' });
      const { whole, halves } = both((_, [t]) => [ops.embedding(t!, ids)], [], [table]);
      expect(halves).toEqual(whole);
    });
  });

  it('an extra gradient of an input enters as a root', () => {
    scope(() => {
      const x = leaf([3, 4], 1);
      const w = leaf([4, 4], 2);
      const { whole, halves } = both(([a], [b]) => [ops.matmul(a!, b!), a!], [x], [w]);
      expect(halves).toEqual(whole);
    });
  });

  it('random graphs', () => {
    const program = fc.array(
      fc.record({
        kind: fc.constantFrom('matmul', 'add', 'mul', 'tanh'),
        a: fc.nat(30),
        b: fc.nat(30),
      }),
      { minLength: 1, maxLength: 12 },
    );
    fc.assert(
      fc.property(program, (steps) => {
        scope(() => {
          const inputs = [leaf([4, 4], 1), leaf([4, 4], 2)];
          const weights = [leaf([4, 4], 3), leaf([4, 4], 4), leaf([4, 4], 5)];
          const build = (ins: Tensor[], ws: Tensor[]): Tensor[] => {
            const values = [...ins, ...ws];
            for (const { kind, a, b } of steps) {
              const [left, right] = [values[a % values.length]!, values[b % values.length]!];
              if (kind === 'matmul') values.push(ops.matmul(left, right));
              else if (kind === 'add') values.push(ops.add(left, right));
              else if (kind === 'mul') values.push(ops.mul(left, right));
              else values.push(ops.tanh(left));
            }
            return [values.at(-1)!];
          };
          const { whole, halves } = both(build, inputs, weights);
          // Weights of several places are added up in libtorch's order, which is the same: all computed with the inputs.
          expect(halves).toEqual(whole);
        });
      }),
      { numRuns: 200 },
    );
    expect(native().liveDeferred()).toBe(0);
  });

  it('the second half is taken or dropped once', () => {
    scope(() => {
      const [x, w] = [leaf([2, 2], 1), leaf([2, 2], 2)];
      const out = ops.matmul(x, w);
      const { deferred } = gradInputs([out], [x], [w], [random([2, 2], 3)]);
      expect(native().liveDeferred()).toBe(1);
      deferred.drop();
      expect(native().liveDeferred()).toBe(0);
      expect(() => deferred.take()).toThrow('computed or dropped before');
    });
  });
});
