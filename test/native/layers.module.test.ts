/** Names, state dictionaries, placement and initialisers. */
import { describe, expect, it } from 'vitest';
import { formatError } from '../../src/core/errors.ts';
import { Gpt2 } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import {
  type AnyModule,
  Conv2d,
  Embedding,
  init,
  initialValues,
  Linear,
  loadStateDict,
  Module,
  Parameter,
  placeParameters,
  stateDict,
} from '../../src/nn/index.ts';
import { ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { tinyGpt2 } from '../cases/models.ts';

const place = <M extends AnyModule>(model: M, seed = 5, dtype: 'float32' | 'bfloat16' = 'float32'): M => {
  placeParameters(model, { seed, dtype, device: 'cpu' });
  return model;
};

class Pair extends Module<[Tensor], Tensor> {
  readonly first = new Linear(3, 4);
  readonly list = [new Linear(4, 3, { bias: false }), new Linear(4, 3, { weight: this.first.weight, bias: false })];
  forward(x: Tensor): Tensor {
    return this.list[0]!.call(this.first.call(x));
  }
}

describe('modules', () => {
  it('name parameters by their path, tied ones by the first', () => {
    const model = new Pair();
    expect(Array.from(model.namedParameters(), ([name]) => name)).toEqual([
      'first.weight',
      'first.bias',
      'list.0.weight',
    ]);
    expect(Array.from(model.allParameterPaths(), ([name]) => name)).toContain('list.1.weight');
    expect(model.parameterCount).toBe(12 + 4 + 12);
    expect(model.parameter('list.1.weight')).toBe(model.first.weight);
    expect(() => model.parameter('list.0.wieght')).toThrow('the model has no parameter list.0.wieght');
  });

  it('switch between training and evaluation everywhere', () => {
    const model = new Pair().eval();
    expect(Array.from(model.namedModules(), ([, module]) => module.training)).toEqual([false, false, false, false]);
    expect(model.train().list[1]!.training).toBe(true);
  });

  it('refuse a tensor of another shape, and say when they have no memory', () => {
    const parameter = new Parameter([2, 3], init.zeros);
    expect(() => parameter.tensor).toThrow('parameter of shape [2,3] has no memory yet');
    scope(() => expect(() => parameter.place(ops.zeros([3, 2]))).toThrow('has shape [2,3], got a tensor of [3,2]'));
  });
});

describe('state dictionaries', () => {
  it('hold every parameter once and go back in, in any type', () => {
    const model = place(new Gpt2(tinyGpt2()));
    const values = stateDict(model);
    expect([...values.keys()]).toEqual(Array.from(model.namedParameters(), ([name]) => name));
    expect([...values.keys()].some((name) => name.startsWith('head.projection'))).toBe(false);
    const other = place(new Gpt2(tinyGpt2()), 6, 'bfloat16');
    loadStateDict(other, values);
    for (const [name, tensor] of stateDict(other)) {
      scope(() => {
        const rounded = ops.to(values.get(name)!, { dtype: 'bfloat16' });
        expect(ops.toArray(tensor), name).toEqual(ops.toArray(rounded));
        expect(tensor.requiresGrad).toBe(true);
      });
    }
    model.unplace();
    other.unplace();
  });

  it('name everything that does not fit, and change nothing then', () => {
    const model = place(new Pair());
    const before = ops.toArray(model.first.bias!.tensor);
    const bad = new Map(stateDict(model));
    bad.set('frist.weight', bad.get('first.weight')!);
    bad.delete('first.weight');
    scope(() => {
      bad.set('list.0.weight', ops.zeros([4, 3]));
      bad.set('first.bias', ops.zeros([4]));
      let text = '';
      try {
        loadStateDict(model, bad);
      } catch (error) {
        text = formatError(error);
      }
      expect(text).toBe(
        'the values are not of this model:\n' +
          '  there is no first.weight (nearest: frist.weight)\n' +
          '  the model has no frist.weight (nearest: first.weight)\n' +
          '  list.0.weight has shape [4,3], the model needs [3,4]\n' +
          '  Build the model that the values were saved from, or rename them.',
      );
    });
    expect(ops.toArray(model.first.bias!.tensor)).toEqual(before);
    model.unplace();
  });
});

describe('initialisers', () => {
  const values = (initializer: init.Initializer, shape: readonly number[], name = 'w', seed = 1): number[] => {
    const parameter = new Parameter(shape, initializer);
    parameter.name = name;
    const tensor = initialValues(parameter, seed, 'float32');
    const array = ops.toArray(tensor);
    tensor.dispose();
    return array;
  };
  const mean = (x: readonly number[]) => x.reduce((sum, value) => sum + value, 0) / x.length;
  const deviation = (x: readonly number[]) => {
    const middle = mean(x);
    return Math.sqrt(mean(x.map((value) => (value - middle) ** 2)));
  };

  it('have the moments they promise', () => {
    const many = [400, 300];
    const normal = values(init.normal(0.02, 1), many);
    expect(mean(normal)).toBeCloseTo(1, 3);
    expect(deviation(normal)).toBeCloseTo(0.02, 3);
    expect(values(init.constant(3), [4])).toEqual([3, 3, 3, 3]);
    expect(values(init.ones, [2])).toEqual([1, 1]);
    expect(values(init.zeros, [2])).toEqual([0, 0]);
    const bounded = (initializer: init.Initializer, shape: readonly number[], bound: number) => {
      const drawn = values(initializer, shape);
      expect(Math.max(...drawn.map(Math.abs))).toBeLessThanOrEqual(bound);
      expect(Math.max(...drawn)).toBeGreaterThan(0.99 * bound);
      expect(mean(drawn)).toBeCloseTo(0, 2);
      expect(deviation(drawn)).toBeCloseTo(bound / Math.sqrt(3), 2);
    };
    bounded(init.uniform(-0.3, 0.3), many, 0.3);
    bounded(init.kaimingUniform(), many, Math.sqrt(6 / 300));
    bounded(init.kaimingUniform(1 / Math.sqrt(3)), [64, 8, 5, 5], 1 / Math.sqrt(200));
    bounded(init.xavierUniform(), many, Math.sqrt(6 / 700));
    bounded(init.xavierUniform(2), [64, 8, 5, 5], 2 * Math.sqrt(6 / (200 + 64 * 25)));
  });

  it("are libtorch's defaults for linear, convolution and embedding", () => {
    const largest = (parameter: Parameter) => Math.max(...values(parameter.initializer, parameter.shape).map(Math.abs));
    expect(largest(new Linear(400, 300).weight)).toBeCloseTo(1 / 20, 4);
    expect(largest(new Linear(400, 3000).bias!)).toBeCloseTo(1 / 20, 4);
    expect(largest(new Conv2d(16, 64, 5).weight)).toBeCloseTo(1 / 20, 4);
    const embedding = new Embedding(500, 64).weight;
    expect(deviation(values(embedding.initializer, embedding.shape))).toBeCloseTo(1, 1);
  });

  it('depend on the seed and the name alone', () => {
    const draw = init.normal(1);
    expect(values(draw, [8], 'a')).toEqual(values(draw, [8], 'a'));
    expect(values(draw, [8], 'a')).not.toEqual(values(draw, [8], 'b'));
    expect(values(draw, [8], 'a', 1)).not.toEqual(values(draw, [8], 'a', 2));
    const bytes = (model: AnyModule) =>
      new Map(
        Array.from(stateDict(model), ([name, tensor]) => [name, Buffer.from(ops.toBytes(tensor)).toString('hex')]),
      );
    const whole = place(new Pair());
    const backwards = new Pair();
    for (const [name, parameter] of [...backwards.namedParameters()].reverse()) {
      parameter.name = name;
      native().seed('cpu', 99n);
      parameter.place(initialValues(parameter, 5, 'float32'));
    }
    expect(bytes(backwards)).toEqual(bytes(whole));
    whole.unplace();
    backwards.unplace();
  });

  it('draw the same numbers for every type', () => {
    const parameter = new Parameter([64], init.normal(1));
    parameter.name = 'w';
    scope(() => {
      const half = initialValues(parameter, 1, 'bfloat16');
      const rounded = ops.to(initialValues(parameter, 1, 'float32'), { dtype: 'bfloat16' });
      expect(ops.toArray(half)).toEqual(ops.toArray(rounded));
    });
  });
});
