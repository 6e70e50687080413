/** Parts of models in blocks: every element of every tensor is on some rank, and one rank answers for it. */
import { expect, test } from 'vitest';
import { blockLayers, plannedPlace } from '../../../src/dist/tensor/index.ts';
import { Gpt2, Llama } from '../../../src/models/index.ts';
import { type AnyModule, type Parameter, withLayers } from '../../../src/nn/index.ts';
import { tinyGpt2, tinyLlama, tinyMixture } from '../../cases/models.ts';

const modes = [
  ['2d', 4, null],
  ['2.5d', 8, 2],
  ['3d', 8, null],
] as const;

const models: Record<string, () => AnyModule> = {
  'gpt2, sections and an uneven vocabulary': () => new Gpt2(tinyGpt2({ n_head: 4 })),
  'qwen, biases and norms in heads': () => new Llama(tinyLlama({ attention_bias: true, qk_norm: true })),
};

const cases = modes.flatMap((mode) => Object.keys(models).map((model) => [...mode, model] as const));

/** Adds one to every element that the parameter holds of the whole, laid out in rows. */
function mark(counts: Uint8Array, { whole }: Parameter): void {
  const indices = whole!.ranges.map((ranges) =>
    ranges.flatMap(({ begin, end }) => Array.from({ length: end - begin }, (_, at) => begin + at)),
  );
  const visit = (dim: number, at: number): void => {
    if (dim === indices.length) counts[at]!++;
    else for (const index of indices[dim]!) visit(dim + 1, at * whole!.shape[dim]! + index);
  };
  visit(0, 0);
}

test.each(cases)('%s over %i ranks (depth %s): %s', (kind, size, depth, model) => {
  const build = models[model]!;
  const wholes = build().parameters();
  const ranks = Array.from({ length: size }, (_, rank) => {
    const place = plannedPlace(kind, size, depth, rank);
    if (place.kind === '1d') throw new Error('not a place of blocks');
    return withLayers(blockLayers(place), build).parameters();
  });
  let held = 0;
  for (const [index, { shape, elements }] of wholes.entries()) {
    const parts = ranks.map((parameters) => parameters[index]!);
    held += parts.reduce((sum, part) => sum + part.elements, 0);
    if (parts[0]!.whole === null) {
      // Norms inside heads: all of it everywhere.
      for (const part of parts) expect(part.shape).toEqual(shape);
      continue;
    }
    const [owned, all] = [new Uint8Array(elements), new Uint8Array(elements)];
    for (const part of parts) {
      expect(part.whole!.shape).toEqual(shape);
      mark(all, part);
      if ((part.whole!.copy ?? 0) === 0) mark(owned, part);
    }
    expect(new Set(owned), `elements that somebody answers for, ${shape}`).toEqual(new Set([1]));
    // Each as often as any other.
    expect(new Set(all).size, `copies, ${shape}`).toBe(1);
  }
  const whole = wholes.reduce((sum, { elements }) => sum + elements, 0);
  expect(held / whole).toBeLessThan(kind === '2.5d' ? 2.01 : 1.2);
});

test('a mixture needs whole rows', () => {
  const place = plannedPlace('2d', 4, null);
  if (place.kind === '1d') throw new Error('not a place of blocks');
  const build = () => new Llama(tinyLlama({ mixture: tinyMixture }));
  expect(() => withLayers(blockLayers(place), build)).toThrow(
    'a mixture of experts needs whole rows, and this mode of tensor parallelism cuts their width over 2 ranks',
  );
});

test('heads that an edge does not divide are refused with the numbers', () => {
  const place = plannedPlace('3d', 8, null);
  if (place.kind === '1d') throw new Error('not a place of blocks');
  expect(() => withLayers(blockLayers(place), () => new Llama(tinyLlama({ num_key_value_heads: 1 })))).toThrow(
    '1 heads of 8 features cannot be cut over an edge of 2 (3d, tp 8): 1 / 2 is not whole',
  );
});
