/** Layers against the formulas they stand for, in fp64, with all gradients. */
import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import {
  type AnyModule,
  activations,
  Conv2d,
  collectUnits,
  Dropout,
  Embedding,
  GroupNorm,
  init,
  LayerNorm,
  Linear,
  LinearInOut,
  MLP,
  type Module,
  Parameter,
  placeParameters,
  RMSNorm,
  randomKeys,
  SwiGLU,
} from '../../src/nn/index.ts';
import { type Dtype, ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { deviates, expectAgreement } from '../cases/agreement.ts';

/** Places `model` with deviates for every parameter, so that no bias is zero and no scale is one. */
function placed<M extends AnyModule>(model: M, dtype: Dtype = 'float64'): M {
  let seed = 100;
  placeParameters(model, { seed: 1, dtype, device: 'cpu', values: ({ shape }) => deviates(seed++, shape, dtype) });
  return model;
}

function compare<M extends Module<[Tensor], Tensor>>(
  model: M,
  shape: readonly number[],
  formula: (x: Tensor, model: M) => Tensor,
  tolerance = 1e-10,
): void {
  placed(model);
  const x = deviates(1, shape).requireGrad();
  const inputs = [x, ...model.parameters().map((parameter) => parameter.tensor)];
  expectAgreement(
    () => model.call(x),
    () => formula(x, model),
    inputs,
    tolerance,
  );
  x.dispose();
  model.unplace();
}

const centred = (x: Tensor, dims: number[]) => ops.sub(x, ops.mean(x, dims, true));
const scaledByRoot = (x: Tensor, dims: number[], epsilon: number) =>
  ops.div(x, ops.sqrt(ops.add(ops.mean(ops.mul(x, x), dims, true), epsilon)));

describe('layers', () => {
  it('Linear: x Wᵀ + b, with and without bias, for any leading shape', () => {
    const formula = (x: Tensor, { weight, bias }: Linear) => {
      const y = ops.matmul(x, ops.transpose(weight.tensor, 0, 1));
      return bias === null ? y : ops.add(y, bias.tensor);
    };
    compare(new Linear(5, 3), [2, 4, 5], formula);
    compare(new Linear(5, 3, { bias: false }), [7, 5], formula);
    const shared = new Parameter([3, 5], init.zeros);
    compare(new Linear(5, 3, { weight: shared }), [2, 2, 2, 5], formula);
  });

  it('LinearInOut: x W + b', () => {
    compare(new LinearInOut(5, 3, init.zeros, init.zeros), [2, 4, 5], (x, { weight, bias }) =>
      ops.add(ops.matmul(x, weight.tensor), bias.tensor),
    );
  });

  it('Embedding: rows of the table, gradients of repeated ids summed', () => {
    const table = placed(new Embedding(6, 4));
    const ids = [3, 0, 3, 5, 3, 1];
    const [row, hot] = scope(() => [
      ops.fromArray(ids, [2, 3], { dtype: 'int64' }).keep(),
      ops
        .fromArray(
          ids.flatMap((id) => [0, 1, 2, 3, 4, 5].map((column) => Number(column === id))),
          [2, 3, 6],
          { dtype: 'float64' },
        )
        .keep(),
    ]);
    const weight = table.weight.tensor;
    expectAgreement(
      () => table.call(row!),
      () => ops.matmul(hot!, weight),
      [weight],
    );
    for (const tensor of [row!, hot!]) tensor.dispose();
    table.unplace();
  });

  it('LayerNorm, with and without bias', () => {
    const formula = (x: Tensor, { weight, bias, epsilon }: LayerNorm) => {
      const y = ops.mul(scaledByRoot(centred(x, [-1]), [-1], epsilon), weight.tensor);
      return bias === null ? y : ops.add(y, bias.tensor);
    };
    compare(new LayerNorm(8), [2, 3, 8], formula);
    compare(new LayerNorm(8, { epsilon: 0.1, bias: false }), [4, 8], formula);
  });

  it('RMSNorm', () => {
    compare(new RMSNorm(8, 0.01), [2, 3, 8], (x, { weight, epsilon }) =>
      ops.mul(scaledByRoot(x, [-1], epsilon), weight.tensor),
    );
  });

  it('RMSNorm in bf16 computes in fp32 and rounds before the weight, as Llama does', () => {
    const norm = placed(new RMSNorm(64), 'bfloat16');
    scope(() => {
      const x = ops.mul(deviates(1, [5, 64], 'bfloat16'), 30);
      const wide = scaledByRoot(ops.to(x, { dtype: 'float32' }), [-1], norm.epsilon);
      const expected = ops.mul(norm.weight.tensor, ops.to(wide, { dtype: 'bfloat16' }));
      const got = norm.call(x);
      expect(got.dtype).toBe('bfloat16');
      const [a, b] = [ops.toArray(got), ops.toArray(expected)];
      const off = a.filter((value, i) => Math.abs(value - b[i]!) > Math.abs(b[i]!) * 2 ** -6).length;
      expect(off).toBe(0);
      expect(a.filter((value, i) => value !== b[i]).length).toBeLessThan(a.length / 50);
    });
    norm.unplace();
  });

  it('GroupNorm', () => {
    compare(new GroupNorm(3, 6), [2, 6, 5, 4], (x, { groups, weight, bias, epsilon }) => {
      const grouped = ops.reshape(x, [2, groups, -1]);
      const y = ops.reshape(scaledByRoot(centred(grouped, [-1]), [-1], epsilon), [2, 6, 5, 4]);
      const wide = (parameter: Parameter) => ops.reshape(parameter.tensor, [1, 6, 1, 1]);
      return ops.add(ops.mul(y, wide(weight)), wide(bias));
    });
  });

  it.each([
    { stride: 1, padding: 0, dilation: 1, groups: 1 },
    { stride: 2, padding: 1, dilation: 1, groups: 2 },
    { stride: 1, padding: 2, dilation: 2, groups: 1, bias: false },
  ])('Conv2d: sums over the window, %j', (options) => {
    compare(new Conv2d(4, 6, 3, options), [2, 4, 7, 8], convolution);
  });

  it('MLP and SwiGLU', () => {
    compare(new MLP(6, 10, 'tanh'), [3, 6], (x, { up, down }) => down.forward(ops.tanh(up.forward(x))));
    compare(new SwiGLU(6, 10), [3, 6], (x, { gate, up, down }) => {
      const g = gate.forward(x);
      return down.forward(ops.mul(ops.mul(g, ops.sigmoid(g)), up.forward(x)));
    });
    const relu = new SwiGLU(6, 10, { bias: true, activation: 'relu' });
    expect(relu.parameters()).toHaveLength(6);
    compare(relu, [3, 6], (x, { gate, up, down }) => down.forward(ops.mul(ops.relu(gate.forward(x)), up.forward(x))));
  });

  it('activations by name', () => {
    const at = (name: keyof typeof activations) =>
      scope(() => ops.toArray(activations[name](ops.fromArray([-1.5, 0.5], [2], { dtype: 'float64' }))));
    const close = (name: keyof typeof activations, f: (x: number) => number) => {
      for (const [i, x] of [-1.5, 0.5].entries()) expect(at(name)[i], name).toBeCloseTo(f(x), 12);
    };
    const tanhGelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    close('gelu_new', tanhGelu);
    close('gelu_pytorch_tanh', tanhGelu);
    close('silu', (x) => x / (1 + Math.exp(-x)));
    close('relu', (x) => Math.max(0, x));
    close('tanh', Math.tanh);
    expect(at('gelu')[1]).toBeCloseTo(0.345731230637, 11); // 0.5 · Φ(0.5), Φ from tables
  });
});

/** Convolution as sums of shifted products: windows gathered one kernel place at a time. */
function convolution(x: Tensor, { weight, bias, options }: Conv2d): Tensor {
  const { stride, padding, dilation, groups } = options;
  const [batch, channels, height, width] = x.shape as readonly [number, number, number, number];
  const [out, perGroup, kernel] = weight.shape as readonly [number, number, number];
  const zerosOf = (shape: number[]) => ops.zeros(shape, { dtype: 'float64' });
  const tall = ops.cat([zerosOf([batch, channels, padding, width]), x, zerosOf([batch, channels, padding, width])], 2);
  const side = zerosOf([batch, channels, height + 2 * padding, padding]);
  const padded = ops.cat([side, tall, side], 3);
  const places = (size: number) => Math.floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1;
  const [rows, columns] = [places(height), places(width)];
  const indices = (from: number, count: number) =>
    ops.fromArray(
      Array.from({ length: count }, (_, i) => from + i * stride),
      [count],
      { dtype: 'int64' },
    );
  let sum: Tensor | null = null;
  for (let i = 0; i < kernel; i++) {
    for (let j = 0; j < kernel; j++) {
      const window = ops.indexSelect(
        ops.indexSelect(padded, 2, indices(i * dilation, rows)),
        3,
        indices(j * dilation, columns),
      );
      const grouped = ops.reshape(window, [batch, groups, 1, perGroup, rows, columns]);
      const place = ops.select(ops.select(weight.tensor, 3, j), 2, i);
      const factors = ops.reshape(place, [1, groups, out / groups, perGroup, 1, 1]);
      const part = ops.reshape(ops.sum(ops.mul(grouped, factors), [3]), [batch, out, rows, columns]);
      sum = sum === null ? part : ops.add(sum, part);
    }
  }
  return bias === null ? sum! : ops.add(sum!, ops.reshape(bias.tensor, [1, out, 1, 1]));
}

describe('Dropout', () => {
  it('drops the share it promises in train mode, keeps the mean, and does nothing in evaluation', () => {
    scope(() => {
      const x = ops.ones([100, 400]);
      const drop = new Dropout(0.3);
      native().seed('cpu', 4n);
      const y = ops.toArray(drop.call(x));
      const zeros = y.filter((value) => value === 0).length / y.length;
      expect(zeros).toBeCloseTo(0.3, 2);
      expect(new Set(y)).toEqual(new Set([0, Math.fround(1 / 0.7)]));
      expect(drop.eval().call(x)).toBe(x);
      expect(new Dropout(0).call(x)).toBe(x);
      expect(() => new Dropout(1)).toThrow('dropout probability must be in [0, 1), got 1');
    });
  });

  it('draws the same numbers for the same key, others for another use, step or unit', () => {
    scope(() => {
      const x = ops.ones([64]);
      const drop = new Dropout(0.5).unit();
      collectUnits(drop);
      const draw = (step: number, uses = 1): string[] => {
        randomKeys.begin({ seed: 3, step, microBatch: 0 });
        return Array.from({ length: uses }, () => ops.toArray(drop.call(x)).join());
      };
      const [first, second] = draw(1, 2);
      native().seed('cpu', 12345n);
      expect(draw(1, 2)).toEqual([first, second]);
      expect(first).not.toBe(second);
      expect(draw(2)[0]).not.toBe(first);
      randomKeys.begin({ seed: 0, step: 0, microBatch: 0 });
    });
  });
});
