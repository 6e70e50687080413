/** Fused layers on a GPU: as near to fp64 as the composition of libtorch's operators, forward and backward; repeatable. */
import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { rmsNorm, rotary, swiglu } from '../../src/nn/fused.ts';
import { crossEntropy, linearCrossEntropy } from '../../src/nn/losses.ts';
import { type Dtype, grad, noGrad, ops, scope, type Tensor, withGrad } from '../../src/tensor/index.ts';
import { plainRmsNorm, plainRotary, plainSwiglu } from '../native/kernelsPlain.ts';
import { device, sameBytes } from './kernelsSupport.ts';

type Body = (inputs: readonly Tensor[]) => Tensor;
interface Case {
  readonly fused: Body;
  readonly plain: Body;
  /** Shapes of the inputs that get gradients. */
  readonly shapes: readonly (readonly number[])[];
  /** Applied to the first input inside the graph: makes it a view that is not contiguous. */
  readonly view?: (x: Tensor) => Tensor;
}

const tables = (length: number, size: number, like: Tensor): [Tensor, Tensor] => {
  const table = (f: (x: number) => number) => {
    const values = Float32Array.from({ length: length * size }, (_, i) =>
      f(Math.floor(i / size) * 10000 ** (-(2 * (i % (size / 2))) / size)),
    );
    return ops.fromArray(values, [length, size], { dtype: like.dtype, device: like.device });
  };
  return [table(Math.cos), table(Math.sin)];
};
const rotaryBody =
  (apply: typeof rotary): Body =>
  ([x]) =>
    apply(x!, ...tables(x!.size(2), x!.size(3), x!));

const norm = (shape: readonly number[]): Case => ({
  fused: ([x, w]) => rmsNorm(x!, w!, 1e-6),
  plain: ([x, w]) => plainRmsNorm(x!, w!, 1e-6),
  shapes: [shape, [shape.at(-1)!]],
});
const positions = (shape: readonly number[], view?: Case['view']): Case => ({
  fused: rotaryBody(rotary),
  plain: rotaryBody(plainRotary),
  shapes: [shape],
  ...(view === undefined ? {} : { view }),
});
const gated = (shape: readonly number[]): Case => ({
  fused: ([gate, up]) => swiglu(gate!, up!),
  plain: ([gate, up]) => plainSwiglu(gate!, up!),
  shapes: [shape, shape],
});

/** The language-model loss of `rows` tokens, every seventh of which counts for nothing; `chunk` of them at a time. */
function loss(rows: number, width: number, vocabulary: number, chunk: number): Case {
  const labels = (x: Tensor): Tensor => {
    const ids = BigInt64Array.from({ length: rows }, (_, i) => BigInt(i % 7 === 3 ? -100 : (i * 7919) % vocabulary));
    return ops.fromArray(ids, [rows], { device: x.device });
  };
  return {
    fused: ([x, w]) => ops.to(linearCrossEntropy(x!, w!, labels(x!), chunk), { dtype: x!.dtype }),
    plain: ([x, w]) => crossEntropy(ops.matmul(x!, ops.transpose(w!, 0, 1)), labels(x!)),
    shapes: [
      [rows, width],
      [vocabulary, width],
    ],
  };
}

const cases: Record<string, Case> = {
  'RMSNorm, one row': norm([1, 64]),
  'RMSNorm of heads': norm([2, 3, 70, 128]),
  'RMSNorm, 1024 wide': norm([300, 1024]),
  'RMSNorm, 1032 wide': norm([33, 1032]),
  'RMSNorm, 4096 wide, more rows than blocks': norm([1500, 4096]),
  'RMSNorm, wider than a block sums': norm([9, 16384]),
  'RMSNorm, a width that is no multiple of 16 bytes': norm([5, 66]),
  rotary: positions([2, 3, 17, 64]),
  'rotary, heads split from a matrix': positions([2, 17, 4, 128], (x) => ops.transpose(x, 1, 2)),
  'rotary, a part of a matrix': positions([2, 5, 6, 96], (x) => ops.transpose(ops.slice(x, 2, 1, 4), 1, 2)),
  'rotary, 80 wide heads': positions([1, 2, 9, 80]),
  'rotary, 12 wide heads': positions([1, 2, 9, 12]),
  SwiGLU: gated([70, 1376]),
  'SwiGLU, one element': gated([1]),
  'SwiGLU, many': gated([512, 5632]),
  'loss, all rows at once': loss(256, 64, 4096, 256),
  'loss, in chunks, a vocabulary that is no multiple of four': loss(300, 64, 1003, 128),
  'loss, fewer classes than threads': loss(9, 16, 30, 4),
};

/** The greatest distance from the reference, as a share of its greatest element. */
function errorOf(value: Tensor, reference: Tensor): number {
  const wide = ops.to(ops.to(value, { device: 'cpu' }), { dtype: 'float64' });
  const largest = ops.toArray(ops.reshape(ops.maxAll(ops.abs(reference)), [1]))[0]!;
  return ops.toArray(ops.reshape(ops.maxAll(ops.abs(ops.sub(wide, reference))), [1]))[0]! / Math.max(largest, 1e-30);
}

function leafOf(values: Tensor, where: string, dtype: Dtype): Tensor {
  const leaf = noGrad(() => ops.to(ops.to(values, { device: where }), { dtype }));
  const own = ops.detach(leaf);
  native().setRequiresGrad(own.handle, true);
  return own;
}

/** Output and gradients of `body` on the values given, in `dtype` on `where`. */
function run(body: Body, made: Case, values: readonly Tensor[], where: string, dtype: Dtype): Tensor[] {
  return withGrad(() => {
    const leaves = values.map((value) => leafOf(value, where, dtype));
    const inputs = leaves.map((leaf, i) => (i === 0 && made.view !== undefined ? made.view(leaf) : leaf));
    const out = body(inputs);
    const count = out.shape.reduce((a, b) => a * b, 1);
    const slope = Float32Array.from({ length: count }, (_, i) => Math.fround(((i * 7919) % 256) / 128 - 1));
    const weights = ops.fromArray(slope, out.shape, { dtype, device: where });
    return [out, ...grad([out], leaves, [weights])].map((tensor) => ops.detach(tensor!));
  });
}

describe('fused layers', () => {
  if (typeof device !== 'string') {
    it.skip(`skipped: ${device.reason}`, () => {});
    return;
  }
  const where = device;

  describe.each(['float32', 'bfloat16', 'float16'] as const)('%s', (dtype) => {
    it.each(Object.entries(cases))('%s', (_, made) => {
      scope(() => {
        native().seed('cpu', 9n);
        const values = made.shapes.map((shape) => {
          const wide = ops.empty(shape, { dtype: 'float32' });
          ops.normalInPlace(wide, 0, 1);
          return ops.to(ops.to(wide, { dtype }), { dtype: 'float64' });
        });
        const reference = run(made.plain, made, values, 'cpu', 'float64');
        const plain = run(made.plain, made, values, where, dtype);
        const fused = run(made.fused, made, values, where, dtype);
        const again = run(made.fused, made, values, where, dtype);
        const floor = dtype === 'float32' ? 1e-6 : 1e-4;
        const names = ['output', ...made.shapes.map((_, i) => `gradient ${i}`)];
        for (const [i, name] of names.entries()) {
          const [ours, theirs] = [errorOf(fused[i]!, reference[i]!), errorOf(plain[i]!, reference[i]!)];
          expect(ours, `${name}: the composition is off by ${theirs}`).toBeLessThanOrEqual(1.5 * theirs + floor);
          expect(fused[i]!.shape).toEqual(reference[i]!.shape);
          if (!sameBytes(ops.toBytes(fused[i]!), ops.toBytes(again[i]!))) expect.fail(`${name} differs when repeated`);
        }
      });
    });
  });

  it('computes fp64 by the composition', () => {
    scope(() => {
      const x = ops.ones([3, 5], { dtype: 'float64', device: where });
      const w = ops.full([5], 2, { dtype: 'float64', device: where });
      for (const value of ops.toArray(rmsNorm(x, w, 0))) expect(value).toBe(2);
    });
  });
});
