/** Tensors end when their scope does, when they are disposed, and never by chance. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatError } from '../../src/core/errors.ts';
import { native } from '../../src/native/load.ts';
import { closeScope, grad, noGrad, openScope, ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { forEachTensor, mapTensors } from '../../src/tensor/scope.ts';

let live: number;
beforeEach(() => {
  live = native().liveTensors();
});
afterEach(() => expect(native().liveTensors()).toBe(live));

describe('scope', () => {
  it('disposes what was made inside and hands out what is returned', () => {
    const result = scope(() => {
      const a = ops.ones([3]);
      const b = ops.mul(a, 2);
      return { list: [b, 5], text: 'kept', nothing: null };
    });
    expect(native().liveTensors()).toBe(live + 1);
    expect(ops.toArray(result.list[0] as Tensor)).toEqual([2, 2, 2]);
    (result.list[0] as Tensor).dispose();
  });

  it('passes results to the scope around it', () => {
    const outer = openScope();
    const escaped = scope(() => scope(() => ops.ones([2])));
    expect(escaped.isDisposed).toBe(false);
    closeScope(outer);
    expect(escaped.isDisposed).toBe(true);
  });

  it('lets go of kept tensors and leaves tensors from outside alone', () => {
    const outside = ops.ones([1]);
    const kept = scope(() => {
      ops.add(outside, 1);
      return [ops.add(outside, 2).keep()];
    })[0]!;
    const hidden: Tensor[] = [];
    scope(() => {
      hidden.push(ops.zeros([1]).keep());
    });
    expect(native().liveTensors()).toBe(live + 3);
    for (const tensor of [outside, kept, hidden[0]!]) {
      expect(tensor.isDisposed).toBe(false);
      tensor.dispose();
    }
  });

  it('disposes everything when the body throws', () => {
    const fail = () =>
      scope(() => {
        const a = ops.ones([2]);
        ops.mul(a, a);
        throw new Error('out');
      });
    expect(fail).toThrow('out');
  });

  it('survives disposal inside, twice, and of the result', () => {
    scope(() => {
      const a = ops.ones([2]);
      a.dispose();
      a.dispose();
      return a;
    });
  });

  it('must close in order', () => {
    const outer = openScope();
    const inner = openScope();
    expect(() => closeScope(outer)).toThrow('reverse order');
    closeScope(inner);
    closeScope(outer);
  });

  it('frees a graph with its tensors', () => {
    const before = native().memoryStats('cpu').allocatedBytes;
    const weight = ops.ones([256, 256]).requireGrad();
    for (let step = 0; step < 3; step++) {
      scope(() => {
        let x = ops.ones([64, 256]);
        for (let i = 0; i < 5; i++) x = ops.tanh(ops.mm(x, weight));
        grad([ops.sum(x)], [weight]);
      });
      expect(native().liveTensors()).toBe(live + 1);
    }
    weight.dispose();
    expect(native().memoryStats('cpu').allocatedBytes).toBe(before);
  });
});

describe('a disposed tensor', () => {
  it('says what it was and how to keep it', () => {
    const held = scope(() => {
      const inner = ops.zeros([2, 7]);
      expect(inner.shape).toEqual([2, 7]);
      return () => inner;
    });
    const tensor = held();
    let text = '';
    try {
      ops.add(tensor, 1);
    } catch (error) {
      text = formatError(error);
    }
    expect(text).toBe(
      'this tensor of shape [2,7] was disposed\n' +
        '  Tensors made inside a scope (a unit, a training step) end with it: return them, or call keep() to own them.',
    );
    expect(() => tensor.handle).toThrow('was disposed');
    expect(() => tensor.item()).toThrow('was disposed');
    expect(() => tensor.retain()).toThrow('was disposed');
  });

  it('leaves other handles on the same data alive', () => {
    const a = ops.fromArray([1, 2]);
    const b = a.retain();
    a.dispose();
    expect(ops.toArray(b)).toEqual([1, 2]);
    b.dispose();
  });

  it('ends with `using`', () => {
    let seen: Tensor;
    {
      using tensor = ops.ones([1]);
      seen = tensor;
    }
    expect(seen.isDisposed).toBe(true);
  });
});

describe('tensors', () => {
  it('are found in nested arrays and plain objects only', () => {
    scope(() => {
      const [a, b] = [ops.ones([1]), ops.ones([2])];
      const found: Tensor[] = [];
      forEachTensor({ a, list: [b, [a]], map: new Map([['x', a]]), text: 'x' }, (tensor) => found.push(tensor));
      expect(found).toEqual([a, b, a]);
      const copy = mapTensors({ a, n: 1 }, () => b);
      expect(copy).toEqual({ a: b, n: 1 });
    });
  });

  it('check dimensions and data sizes before libtorch sees them', () => {
    scope(() => {
      expect(() => ops.ones([2, 3]).size(2)).toThrow('dimension 2 of a tensor of shape [2,3] does not exist');
      expect(() => ops.fromArray([1, 2, 3], [2, 2])).toThrow('shape [2,2] has 4 elements, the data has 3');
    });
  });

  it('have conversions that make and dispose exactly what they say', () => {
    scope(() => {
      const ints = ops.fromArray([1, -2, 3], [3], { dtype: 'int64' });
      expect(ints.dtype).toBe('int64');
      expect(ops.toArray(ops.to(ints, { dtype: 'bfloat16' }))).toEqual([1, -2, 3]);
      expect(ops.fromArray(Float64Array.of(1, 2)).dtype).toBe('float64');
      expect(ops.fromArray([0.5]).dtype).toBe('float32');
      const count = native().liveTensors();
      ops.toArray(ints);
      ops.fromArray([1, 2], [2], { dtype: 'float16' }).dispose();
      expect(native().liveTensors()).toBe(count);
      const same = ops.to(ints, {});
      expect(native().sameTensor(same.handle, ints.handle)).toBe(true);
    });
  });

  it('record no graph inside noGrad', () => {
    scope(() => {
      const weight = ops.ones([2]).requireGrad();
      expect(noGrad(() => ops.mul(weight, 2)).requiresGrad).toBe(false);
      expect(ops.mul(weight, 2).requiresGrad).toBe(true);
    });
  });
});
