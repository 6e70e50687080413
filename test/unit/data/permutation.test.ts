import fc from 'fast-check';
import { expect, test } from 'vitest';
import { keyedPermutation } from '../../../src/data/index.ts';

const order = (count: number, ...key: number[]): number[] =>
  Array.from({ length: count }, (_, i) => keyedPermutation(count, ...key)(i));

test('is a bijection of [0, n) for any n and key', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 3000 }), fc.integer(), fc.nat(), (count, seed, epoch) => {
      const permute = keyedPermutation(count, seed, epoch);
      const seen = new Uint8Array(count);
      for (let index = 0; index < count; index++) seen[permute(index)]!++;
      expect(seen.every((times) => times === 1)).toBe(true);
    }),
  );
});

test('stays within huge ranges and does not repeat there', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2 ** 31, max: 2 ** 52 }), fc.integer(), (count, seed) => {
      const permute = keyedPermutation(count, seed, 0);
      const images = Array.from({ length: 200 }, (_, index) => permute(index));
      expect(images.every((image) => Number.isSafeInteger(image) && image >= 0 && image < count)).toBe(true);
      expect(new Set(images).size).toBe(200);
    }),
  );
});

test('the same key gives the same order, another seed or epoch another one', () => {
  expect(order(100, 7, 0)).toEqual(order(100, 7, 0));
  expect(order(100, 7, 0)).not.toEqual(order(100, 8, 0));
  expect(order(100, 7, 0)).not.toEqual(order(100, 7, 1));
});

test('spreads every index over the whole range', () => {
  const count = 1000;
  const epochs = 400;
  for (const index of [0, 1, 500, 999]) {
    const quarters = [0, 0, 0, 0];
    for (let epoch = 0; epoch < epochs; epoch++) {
      quarters[Math.floor((4 * keyedPermutation(count, 3, epoch)(index)) / count)]!++;
    }
    // 100 expected in each, standard deviation 8.7.
    for (const hits of quarters) expect(Math.abs(hits - 100)).toBeLessThan(45);
  }
});

test('neighbours do not stay neighbours', () => {
  const permute = keyedPermutation(10_000, 1, 0);
  let near = 0;
  for (let index = 1; index < 10_000; index++) if (Math.abs(permute(index) - permute(index - 1)) < 10) near++;
  expect(near).toBeLessThan(60);
});

test.each([0, -1, 1.5, Number.NaN, 2 ** 53])('refuses %s elements', (count) => {
  expect(() => keyedPermutation(count, 0)).toThrow(/permutation of .* elements: expected 1 to 2\^52/);
});
