/** Attention against softmax(q kᵀ / √d + bias) v, in fp64, with all gradients. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import {
  type AttentionOptions,
  alibiSlopes,
  attend,
  attention,
  KeyValueCache,
  mergeHeads,
  Rotary,
  type RotaryScaling,
  splitHeads,
} from '../../src/nn/index.ts';
import { ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { deviates, expectAgreement } from '../cases/agreement.ts';
import { largestDifference } from '../cases/goldenModels.ts';

interface Shape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly length: number;
  readonly keys: number;
}

const [batch, headSize] = [2, 4];

/** What a score gets added, from the definitions of causal, window and ALiBi. */
function bias({ heads, length, keys }: Shape, { causal, window = null, alibi = false }: AttentionOptions): Tensor {
  const slopes = alibi ? alibiSlopes(heads) : Array(heads).fill(0);
  const values: number[] = [];
  for (const slope of slopes) {
    for (let t = keys - length; t < keys; t++) {
      for (let s = 0; s < keys; s++) {
        const seen = (!causal || s <= t) && (window === null || t - s < window);
        values.push(seen ? -slope * Math.abs(t - s) : Number.NEGATIVE_INFINITY);
      }
    }
  }
  return ops.fromArray(values, [1, heads, length, keys], { dtype: 'float64' });
}

function formula(q: Tensor, k: Tensor, v: Tensor, shape: Shape, options: AttentionOptions): Tensor {
  const repeat = (x: Tensor) => ops.repeatInterleave(x, shape.heads / shape.kvHeads, 1);
  const scale = options.scale ?? 1 / Math.sqrt(headSize);
  const scores = ops.mul(ops.matmul(q, ops.transpose(repeat(k), 2, 3)), scale);
  const added = options.mask ?? bias(shape, options);
  return ops.matmul(ops.softmax(ops.add(scores, added), 3), repeat(v));
}

const square = (heads: number, kvHeads = heads, length = 6): Shape => ({ heads, kvHeads, length, keys: length });
const cached = (heads: number, kvHeads: number, length: number, keys: number): Shape => ({
  heads,
  kvHeads,
  length,
  keys,
});

const cases: readonly (readonly [string, Shape, AttentionOptions])[] = [
  ['everything seen', square(3), { causal: false }],
  ['causal', square(3), { causal: true }],
  ['scaled', square(2), { causal: true, scale: 0.1 }],
  ['grouped heads', square(6, 2), { causal: true }],
  ['one key head for all', square(4, 1), { causal: false }],
  ['a window', square(2), { causal: true, window: 3 }],
  ['a window of one', square(2), { causal: true, window: 1 }],
  ['a window wider than the sequence', square(2), { causal: true, window: 60 }],
  ['ALiBi', square(3), { causal: true, alibi: true }],
  ['ALiBi both ways', square(4), { causal: false, alibi: true }],
  ['ALiBi, window, grouped heads', square(4, 2), { causal: true, alibi: true, window: 2 }],
  ['one new position', cached(2, 2, 1, 7), { causal: true }],
  ['some new positions', cached(4, 2, 3, 7), { causal: true }],
  ['one new position, window', cached(2, 1, 1, 7), { causal: true, window: 4 }],
  ['some new positions, window, ALiBi', cached(4, 2, 3, 7), { causal: true, window: 4, alibi: true }],
  ['other keys', cached(2, 2, 5, 3), { causal: false }],
];

describe('attention', () => {
  it.each(cases)('%s', (_, shape, options) => {
    const q = deviates(1, [batch, shape.heads, shape.length, headSize]).requireGrad();
    const k = deviates(2, [batch, shape.kvHeads, shape.keys, headSize]).requireGrad();
    const v = deviates(3, [batch, shape.kvHeads, shape.keys, headSize]).requireGrad();
    expectAgreement(
      () => attention(q, k, v, options),
      () => formula(q, k, v, shape, options),
      [q, k, v],
    );
    for (const tensor of [q, k, v]) tensor.dispose();
  });

  it('an explicit mask, which learns', () => {
    const shape = square(2);
    const [q, k, v] = [1, 2, 3].map((seed) => deviates(seed, [batch, 2, 6, headSize]).requireGrad());
    const mask = deviates(4, [1, 2, 6, 6]).requireGrad();
    const options = { causal: false, mask };
    expectAgreement(
      () => attention(q!, k!, v!, options),
      () => formula(q!, k!, v!, shape, options),
      [q!, k!, v!, mask],
    );
    for (const tensor of [q!, k!, v!, mask]) tensor.dispose();
  });

  it('drops weights only when told to, by the seeded generator', () => {
    scope(() => {
      const [q, k, v] = [1, 2, 3].map((seed) => deviates(seed, [1, 2, 8, headSize], 'float32'));
      const run = (dropout: number) => {
        native().seed('cpu', 5n);
        return ops.toArray(attention(q!, k!, v!, { causal: true, dropout }));
      };
      expect(run(0.5)).toEqual(run(0.5));
      expect(largestDifference(run(0.5), run(0))).toBeGreaterThan(0.1);
    });
  });

  it('works in bf16 with every mask', () => {
    scope(() => {
      for (const options of [{ causal: true }, { causal: true, window: 3 }, { causal: true, alibi: true }]) {
        const [q, k, v] = [1, 2, 3].map((seed) => deviates(seed, [batch, 2, 6, headSize]));
        const half = (x: Tensor) => ops.to(x, { dtype: 'bfloat16' });
        const got = attention(half(q!), half(k!), half(v!), options);
        expect(got.dtype).toBe('bfloat16');
        const exact = ops.toArray(formula(q!, k!, v!, square(2), options));
        expect(largestDifference(ops.toArray(got), exact)).toBeLessThan(0.05);
      }
    });
  });

  it('refuses heads that do not share evenly', () => {
    scope(() => {
      const q = ops.zeros([1, 6, 2, headSize]);
      const k = ops.zeros([1, 4, 2, headSize]);
      expect(() => attention(q, k, k, { causal: true })).toThrow(
        '6 query heads are not a multiple of 4 key/value heads',
      );
    });
  });

  it('has the slopes of ALiBi', () => {
    expect(alibiSlopes(8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((i) => 2 ** -i));
    expect(alibiSlopes(12).slice(8)).toEqual([0.5, 1.5, 2.5, 3.5].map((x) => 2 ** -x));
  });

  it('splits and merges heads', () => {
    scope(() => {
      const x = deviates(1, [2, 3, 8]);
      expect(splitHeads(x, 4).shape).toEqual([2, 4, 3, 2]);
      expect(ops.toArray(mergeHeads(splitHeads(x, 4)))).toEqual(ops.toArray(x));
    });
  });
});

describe('the key/value cache', () => {
  it('gives in pieces what the whole sequence gives, and frees everything', () => {
    const rotary = new Rotary({ headSize, theta: 10_000, scaling: { type: 'none' } });
    const parts = [1, 2, 3].map((seed) => deviates(seed, [batch, 2, 9, headSize]));
    scope(() => rotary.apply(parts[0]!, 0));
    const live = native().liveTensors();
    scope(() => {
      using cache = new KeyValueCache();
      for (const window of [null, 3]) {
        const options = { causal: true, window };
        const run = (from: number, to: number, slot: { cache: KeyValueCache | null; layer: number }) => {
          const [q, k, v] = parts.map((part) => ops.slice(part, 2, from, to));
          return ops.toArray(ops.transpose(attend([q!, k!, v!], rotary, slot, options, from), 0, 1));
        };
        const whole = run(0, 9, { cache: null, layer: 0 });
        const pieces = [0, 4, 5, 6].flatMap((from, i) => run(from, [4, 5, 6, 9][i]!, { cache, layer: 0 }));
        expect(largestDifference(pieces, whole)).toBeLessThan(1e-12);
        expect(cache.length).toBe(9);
        cache.dispose();
        expect(cache.length).toBe(0);
      }
    });
    expect(native().liveTensors()).toBe(live);
    rotary.dispose();
    expect(native().liveTensors()).toBe(live - 2);
    for (const part of parts) part.dispose();
  });
});

describe('rotary positions', () => {
  const golden = JSON.parse(readFileSync(new URL('../goldens/layers/rotary.json', import.meta.url), 'utf8'));
  const scalings: readonly (readonly [string, number, RotaryScaling])[] = [
    ['default', 10_000, { type: 'none' }],
    ['linear', 10_000, { type: 'linear', factor: 4 }],
    [
      'llama3',
      500_000,
      { type: 'llama3', factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalLength: 8192 },
    ],
  ];

  it.each(scalings)('%s: the angles of transformers', (name, theta, scaling) => {
    const rotary = new Rotary({ headSize: 32, theta, scaling });
    const x = scope(() => ops.cat([ops.ones([1, 1, 1, 16]), ops.zeros([1, 1, 1, 16])], 3)).keep();
    for (const [i, position] of (golden.positions as number[]).entries()) {
      const turned = scope(() => ops.toArray(rotary.apply(x, position)));
      const { cos, sin } = golden[name][i] as { cos: number[]; sin: number[] };
      // A frequency rounded the other way by one ulp turns this much further.
      const tolerance = 1e-6 + position * 1.2e-7;
      expect(largestDifference(turned, [...cos, ...sin]), `position ${position}`).toBeLessThan(tolerance);
    }
    rotary.dispose();
    x.dispose();
  });

  it('keep lengths, and scores depend on distance alone', () => {
    const rotary = new Rotary({ headSize, theta: 100, scaling: { type: 'none' } });
    scope(() => {
      const [q, k] = [deviates(1, [1, 1, 1, headSize]), deviates(2, [1, 1, 1, headSize])];
      const score = (t: number, s: number) => ops.sum(ops.mul(rotary.apply(q, t), rotary.apply(k, s))).item();
      expect(score(9, 5)).toBeCloseTo(score(104, 100), 5);
      expect(score(9, 5)).not.toBeCloseTo(score(9, 6), 3);
      const norm = (x: Tensor) => ops.sum(ops.mul(x, x)).item();
      expect(norm(rotary.apply(q, 77))).toBeCloseTo(norm(q), 6);
    });
    rotary.dispose();
  });
});
