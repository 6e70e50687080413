import { expect, it } from 'vitest';
import { type TensorMode, transformerLayerElements } from '../../../src/dist/tensor/volumes.ts';

/** In units of M·h and h²: two widths tell the two terms apart. */
function terms(mode: TensorMode): [perTokenWidth: number, perWidthSquared: number] {
  const [one, two] = [transformerLayerElements(64, 64, mode), transformerLayerElements(128, 64, mode)];
  const perToken = (two - one) / (64 * 64);
  return [perToken, one / (64 * 64) - perToken];
}

it('a transformer layer on 64 ranks: the published sums', () => {
  const rounded = (mode: TensorMode): string =>
    terms(mode)
      .map((term) => Math.abs(term).toFixed(2))
      .join(' Mh + ');
  expect(rounded({ kind: '1d', size: 64 })).toBe('7.88 Mh + 0.00');
  expect(rounded({ kind: '2d', edge: 8 })).toBe('2.30 Mh + 3.94');
  expect(rounded({ kind: '2.5d', edge: 4, depth: 4 })).toBe('0.98 Mh + 7.88');
  expect(rounded({ kind: '3d', edge: 4 })).toBe('1.50 Mh + 1.13');
});
