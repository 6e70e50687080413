import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { bytesOf, call, dtype, floats, release, type TensorHandle, thrown, valuesOf } from './coreSupport.ts';

const leaf = (values: number[], shape?: number[]): TensorHandle => {
  const made = floats(values, shape);
  native().setRequiresGrad(made, true);
  return made;
};
const mul = (a: TensorHandle, b: TensorHandle) => call('aten::mul.Tensor', a, b);
const add = (a: TensorHandle, b: TensorHandle) => call('aten::add.Tensor', a, b);
const sum = (a: TensorHandle) => call('aten::sum', a);

describe('grad', () => {
  it('differentiates, gives null for what is unused, and frees the graph', () => {
    const [x, y, unused] = [leaf([1, 2, 3]), leaf([4, 5, 6]), leaf([1])];
    const loss = sum(mul(x, y));
    const [gx, gy, gu] = native().grad([loss], [x, y, unused], [null], true);
    expect(valuesOf(gx!)).toEqual([4, 5, 6]);
    expect(valuesOf(gy!)).toEqual([1, 2, 3]);
    expect(gu).toBeNull();
    native().grad([loss], [x], [null], false);
    const error = thrown(() => native().grad([loss], [x], [null], false));
    expect(error.code).toBe('E_OPERATOR');
    expect(error.message).toContain('second time');
  });

  it('takes gradients of the outputs and records none of its own work', () => {
    const x = leaf([1, 2, 3]);
    const [gx] = native().grad([mul(x, x)], [x], [floats([1, 10, 100])], false);
    expect(valuesOf(gx!)).toEqual([2, 40, 600]);
    expect(native().info(gx!).requiresGrad).toBe(false);
    expect(thrown(() => native().grad([mul(x, x)], [x], [null], false)).code).toBe('E_OPERATOR');
  });

  it('sums an extra root on an input first, bit for bit as one graph would', () => {
    const count = 1024;
    native().seed('cpu', 7n);
    const random = () => call('aten::randn', [count]);
    const [start, c1, c2, c3] = [random(), random(), random(), random()];
    // Unit A uses x twice, unit B, later, once: one graph gives x the gradient (B + A2) + A1.
    const unitA = (x: TensorHandle) => add(mul(x, c1), mul(x, c2));
    const unitB = (x: TensorHandle) => mul(x, c3);

    const whole = native().retain(start);
    native().setRequiresGrad(whole, true);
    const x = call('aten::mul.Scalar', whole, 1);
    const loss = add(sum(unitA(x)), sum(unitB(x)));
    const [expected] = native().grad([loss], [x], [null], false);

    const ones = call('aten::ones', [count]);
    const xB = native().detach(x);
    native().setRequiresGrad(xB, true);
    const xA = native().detach(x);
    native().setRequiresGrad(xA, true);
    const outA = unitA(xA);
    const [partial] = native().grad([unitB(xB)], [xB], [ones], false);
    const before = bytesOf(partial!, count * 4);
    const [joined] = native().grad([outA, xA], [xA], [ones, partial!], true);
    expect(bytesOf(joined!, count * 4)).toEqual(bytesOf(expected!, count * 4));
    expect(bytesOf(partial!, count * 4)).toEqual(before);

    const [alone] = native().grad([outA], [xA], [ones], false);
    expect(bytesOf(add(alone!, partial!), count * 4)).not.toEqual(bytesOf(expected!, count * 4));
  });
});

describe('cutGraph', () => {
  it('turns the handle into a leaf and hands out what it was', () => {
    const x = leaf([2, 3]);
    const middle = mul(x, x);
    const old = native().cutGraph(middle);
    expect(native().sameTensor(old, middle)).toBe(false);
    expect(native().info(middle)).toMatchObject({ requiresGrad: true, isLeaf: true });
    expect(native().info(old)).toMatchObject({ requiresGrad: true, isLeaf: false });
    const [gMiddle] = native().grad([sum(mul(middle, middle))], [middle], [null], false);
    expect(valuesOf(gMiddle!)).toEqual([8, 18]);
    const [gx] = native().grad([old], [x], [gMiddle!], false);
    expect(valuesOf(gx!)).toEqual([32, 108]);
    call('aten::add_.Scalar', native().detach(middle), 1);
    expect(valuesOf(old)).toEqual([5, 10]);
  });

  it('leaves the handle as it was when the dtype has no gradients', () => {
    const ints = call('aten::to.dtype', floats([1]), dtype.int64);
    expect(thrown(() => native().cutGraph(ints)).code).toBe('E_OPERATOR');
    expect(native().info(ints).requiresGrad).toBe(false);
  });
});

describe('reachableLeaves', () => {
  it('finds the leaves behind the roots, each once, in the order asked', () => {
    const [a, b, c] = [leaf([1]), leaf([2]), leaf([3])];
    const root = add(mul(a, b), a);
    expect(native().reachableLeaves([root], [c, b, a])).toEqual([1, 2]);
    expect(native().reachableLeaves([root, c], [c, b, a])).toEqual([0, 1, 2]);
    expect(native().reachableLeaves([native().detach(root)], [a, b])).toEqual([]);
    expect(native().reachableLeaves([], [a])).toEqual([]);
  });

  it('survives a graph deeper than the stack', () => {
    const a = leaf([1]);
    let x = call('aten::add.Scalar', a, 0);
    for (let i = 0; i < 100_000; i++) {
      const next = call('aten::neg', x);
      release(x);
      x = next;
    }
    expect(native().reachableLeaves([x], [a])).toEqual([0]);
    const [g] = native().grad([x], [a], [null], false);
    expect(valuesOf(g!)).toEqual([1]);
  });
});

describe('modes', () => {
  it('records nothing with grad mode off, and says what it was', () => {
    const x = leaf([1]);
    expect(native().setGradMode(false)).toBe(true);
    expect(native().info(mul(x, x)).requiresGrad).toBe(false);
    expect(native().setGradMode(true)).toBe(false);
    expect(native().info(mul(x, x)).requiresGrad).toBe(true);
  });

  it('nests inference mode', () => {
    const x = leaf([1]);
    native().pushInferenceMode();
    native().pushInferenceMode();
    native().popInferenceMode();
    const made = mul(x, x);
    expect(native().info(made).requiresGrad).toBe(false);
    native().popInferenceMode();
    expect(native().info(mul(x, x)).requiresGrad).toBe(true);
    expect(thrown(() => native().setRequiresGrad(made, true)).message).toContain('nference');
    expect(thrown(() => native().popInferenceMode()).code).toBe('E_STATE');
  });
});
