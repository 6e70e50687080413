/** Mixtures of experts against every expert on every token. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { capacityOf, MoeBlock, type MoeOptions, placeParameters, setAttachedGradient } from '../../src/nn/index.ts';
import { assignSlots } from '../../src/nn/moe/dispatch.ts';
import { closeScope, grad, openScope, ops, type Tensor } from '../../src/tensor/index.ts';

const [width, hidden, experts] = [6, 5, 5];

function block(options: Partial<MoeOptions>): MoeBlock {
  const made = new MoeBlock({ width, hidden, experts, k: 2, ...options });
  placeParameters(made, { seed: 4, dtype: 'float64', device: 'cpu' });
  return made;
}

function wave(shape: readonly number[], seed: number): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  const values = Array.from({ length: count }, (_, i) => 2 * Math.sin(1.7 * i * seed + seed));
  return ops.fromArray(values, shape, { dtype: 'float64' });
}

/** Every expert on every token, weighted; weights are zero where a token does not go. Null: the block's own choice. */
function plainly(moe: MoeBlock, x: Tensor): Tensor {
  const { k, normalize } = moe.router.options;
  const probabilities = ops.softmax(ops.linear(x, moe.router.gate.weight.tensor), 1);
  const [chosen] = ops.topk(probabilities, k, 1);
  const least = ops.slice(chosen, 1, k - 1, k);
  const kept = ops.where(ops.ge(ops.sub(probabilities, least), 0), probabilities, ops.zeros([], { dtype: 'float64' }));
  const weights = normalize ? ops.div(kept, ops.sum(kept, [1], true)) : kept;
  return moe.experts
    .map((expert, i) => ops.mul(expert!.call(x), ops.slice(weights, 1, i, i + 1)))
    .reduce((sum, part) => ops.add(sum, part));
}

function distances(moe: MoeBlock, x: Tensor, expected: Tensor, got: Tensor): number[] {
  const inputs = [x, ...moe.parameters().map(({ tensor }) => tensor)];
  const weight = wave(got.shape, 3);
  const [a, b] = [grad([expected], inputs, [weight]), grad([got], inputs, [weight])];
  const furthest = (p: Tensor, q: Tensor): number => ops.maxAll(ops.abs(ops.sub(p, q))).item();
  return [furthest(expected, got), ...a.map((gradient, i) => furthest(gradient!, b[i]!))];
}

describe('mixtures of experts', () => {
  let surrounding: ReturnType<typeof openScope>;
  beforeEach(() => (surrounding = openScope()));
  afterEach(() => {
    setAttachedGradient(1);
    closeScope(surrounding);
  });

  it.each([1, 2, 3, 5])('top-%i without drops equals every expert on every token', (k) => {
    for (const capacityFactor of [null, experts]) {
      const moe = block({ k, capacityFactor });
      const x = wave([9, width], 1.3).requireGrad();
      for (const distance of distances(moe, x, plainly(moe, x), moe.call(x))) expect(distance).toBeLessThan(1e-13);
      moe.unplace();
    }
  });

  it('an expert without tokens has gradients of zero', () => {
    for (const capacityFactor of [null, 1]) {
      const moe = block({ k: 1, capacityFactor });
      const x = wave([1, width], 1).requireGrad();
      const weights = moe.experts.map((expert) => expert!.down.weight.tensor);
      const gradients = grad([ops.sum(moe.call(x))], weights);
      const sizes = gradients.map((gradient) => ops.maxAll(ops.abs(gradient!)).item());
      expect(sizes.filter((size) => size > 0)).toHaveLength(1);
      moe.unplace();
    }
  });

  it('gives slots to first choices before second ones, to earlier tokens before later ones', () => {
    const chosen = [0, 1, 0, 1, 1, 0, 0, 2];
    const { slots, assignments } = assignSlots(ops.fromArray(chosen, [4, 2], { dtype: 'int64' }), 3, 2);
    // First choices: tokens 0, 1, 3 want expert 0 (two slots), token 2 wants 1. Second: tokens 0 and 1 want 1, token 2 wants 0, token 3 wants 2.
    const none = 6;
    expect(ops.toArray(slots)).toEqual([0, 3, 1, none, 2, none, none, 4]);
    expect(ops.toArray(assignments)).toEqual([0, 2, 4, 1, 7, 8]);
  });

  it('dropped assignments give nothing and get nothing', () => {
    const moe = block({ k: 1, capacityFactor: 1e-9, leastCapacity: 2 });
    const one = wave([1, width], 1);
    const x = ops.contiguous(ops.expand(one, [5, width])).requireGrad();
    const y = moe.call(x);
    const rows = ops.toArray(ops.sum(ops.abs(y), [1]));
    expect(rows.map((row) => row > 0)).toEqual([true, true, false, false, false]);
    const [gradient] = grad([ops.sum(y)], [x]);
    expect(ops.toArray(ops.sum(ops.abs(gradient!), [1])).map((row) => row > 0)).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
    moe.unplace();
  });

  it('capacities are even, and enough for equal loads', () => {
    expect(capacityOf(64, 1, 8, 1)).toBe(8);
    expect(capacityOf(64, 2, 8, 1.25)).toBe(20);
    expect(capacityOf(65, 1, 8, 1)).toBe(10);
    expect(capacityOf(8, 1, 8, 1)).toBe(4);
    expect(capacityOf(0, 1, 8, 1, 0)).toBe(0);
  });

  it('balance and z losses enter the backward pass with the weight of the loss', () => {
    const x = wave([7, width], 2.1).requireGrad();
    const plain = block({});
    const gate = (moe: MoeBlock): Tensor => moe.router.gate.weight.tensor;
    const [without] = grad([ops.sum(plain.call(x))], [gate(plain)]);
    const logits = ops.linear(x, gate(plain));
    const [, chosen] = ops.topk(ops.softmax(logits, 1), 2, 1);
    const isEach = ops.eq(ops.reshape(chosen, [-1, 1]), ops.arange(0, experts));
    const assigned = ops.div(ops.sum(ops.to(isEach, { dtype: 'float64' }), [0]), 7);
    const balance = ops.mul(ops.sum(ops.mul(assigned, ops.mean(ops.softmax(logits, 1), [0]))), experts);
    const z = ops.mean(ops.pow(ops.logsumexp(logits, [1]), 2));
    const [own] = grad([ops.add(ops.mul(balance, 0.3), ops.mul(z, 0.02))], [gate(plain)]);
    for (const scale of [1, 0.25]) {
      const moe = block({ balanceWeight: 0.3, zWeight: 0.02 });
      setAttachedGradient(scale);
      const [got] = grad([ops.sum(moe.call(x))], [gate(moe)]);
      const expected = ops.add(without!, ops.mul(own!, scale));
      expect(ops.maxAll(ops.abs(ops.sub(got!, expected))).item()).toBeLessThan(1e-13);
      expect(ops.maxAll(ops.abs(own!)).item()).toBeGreaterThan(1e-3);
      moe.eval();
      const [quiet] = grad([ops.sum(moe.call(x))], [gate(moe)]);
      expect(ops.toArray(quiet!)).toEqual(ops.toArray(without!));
      moe.unplace();
    }
    plain.unplace();
  });

  it('refuses more experts per token than there are', () => {
    expect(() => block({ k: 6 })).toThrow('a token cannot go to 6 of 5 experts');
  });
});
