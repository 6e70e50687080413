/**
 * Tensor-parallel layers on real processes: equal to whole layers in float64, and as many elements received on every rank as
 * the formulas say. The formulas are written out here once more.
 */
import { describe, expect, it } from 'vitest';
import { cube, deepSquare, square } from '../../src/dist/subMesh.ts';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { runRanks } from './ranks.ts';
import type { ModelReport } from './scripts/lineModels.ts';
import { type LayerReport, type Mode, sizesFor } from './scripts/tensorParallel.ts';

type Elements = Record<string, number>;

/** Ring all-reduce: own part from all others, then all other parts. */
function allReduce(elements: number, rank: number, size: number): number {
  const own = Math.floor(elements / size) + (rank < elements % size ? 1 : 0);
  return (size - 1) * own + elements - own;
}

function line(rank: number, p: number): Elements {
  const { m, k, n } = { m: 6 * p, k: 5 * p, n: 3 * p };
  const v = 7 * p + 1;
  const reduced = (elements: number): number => allReduce(elements, rank, p);
  const ring = (elements: number): number => ((p - 1) / p) * elements;
  return {
    column: reduced(m * k),
    gathered: reduced(m * k) + ring(m * n),
    row: reduced(m * n),
    pair: 2 * reduced(m * k),
    columnSequence: 2 * ring(m * k),
    rowSequence: 2 * ring(m * n) + reduced(n),
    vocabularyEmbedding: reduced(m * k),
    embedding: ring(m * k),
    logits: reduced(m * k) + ring(m * p * Math.ceil(v / p)),
    loss: reduced(m * k) + 3 * reduced(m),
  };
}

function squares(rank: number, size: number, d: number): Elements {
  const shape = d === 1 ? square(size) : deepSquare(size, d);
  const { i, j, k: layer } = shape.place(rank);
  const q = shape.edge;
  const { m: all, k, n, v } = sizesFor(q * d);
  const m = all / d;
  const overDepth = (elements: number): number => (d === 1 ? 0 : allReduce(elements / q ** 2, layer, d));
  const vector = (width: number): number => (2 * (q - 1) * width) / q ** 2 + overDepth(width);
  const product = (a: number, b: number): number => (3 * (q - 1) * (a + b)) / q ** 2;
  const logits = product(m * v, k * v) + overDepth(k * v);
  const perToken = allReduce(m / q, j, q);
  return {
    linear: product(m * k, k * n) + overDepth(k * n) + vector(n),
    bare: product(m * k, k * n) + overDepth(k * n),
    norm: 4 * perToken + 2 * vector(k),
    rms: 2 * perToken + vector(k),
    vocabularyEmbedding: (2 * (q - 1) * m * k) / q ** 2 + overDepth(v * k),
    embedding: vector(v * k),
    logits,
    loss: logits + 3 * perToken + allReduce(2, i, q) + (d === 1 ? 0 : allReduce(2, layer, d)),
  };
}

function cubes(rank: number, size: number): Elements {
  const shape = cube(size);
  const { i, j, k: layer } = shape.place(rank);
  const d = shape.edge;
  const { m, k, n, v } = sizesFor(d);
  const ring = (elements: number): number => (2 * (d - 1) * elements) / d ** 3;
  const linear = ring(m * k + k * n + m * n);
  const logits = ring(m * k + k * v + m * v);
  return {
    linear: linear + allReduce(n / d, i, d),
    bare: linear,
    back: linear + allReduce(n / d, i, d),
    norm: 4 * allReduce(m / d ** 2, layer, d) + 2 * (allReduce(k / d, i, d) + allReduce(k / d, j, d)),
    rms: 2 * allReduce(m / d ** 2, j, d) + allReduce(k / d, i, d) + allReduce(k / d, layer, d),
    vocabularyEmbedding: ring(v * k + m * k),
    logits,
    loss: logits + 3 * allReduce(m / d ** 2, j, d) + allReduce(2, i, d) + allReduce(2, layer, d),
  };
}

const table: readonly (readonly [string, number, Mode, (rank: number, size: number) => Elements])[] = [
  ['1D on 2', 2, { kind: '1d' }, line],
  ['1D on 3', 3, { kind: '1d' }, line],
  ['1D on 4', 4, { kind: '1d' }, line],
  ['2D on 4', 4, { kind: '2d' }, (rank, size) => squares(rank, size, 1)],
  ['2D on 9', 9, { kind: '2d' }, (rank, size) => squares(rank, size, 1)],
  ['2.5D on 8, q = 2, d = 2', 8, { kind: '2.5d', depth: 2 }, (rank, size) => squares(rank, size, 2)],
  ['3D on 8', 8, { kind: '3d' }, cubes],
];

describe.skipIf(!nativeIsBuilt())('tensor-parallel layers', () => {
  it.each(table)('%s ranks equal whole layers, at the volume of the formulas', async (_, size, mode, elementsOf) => {
    const reports = await runRanks<Record<string, LayerReport>>(size, 'scripts/tensorParallel.ts', { input: mode });
    for (const [rank, report] of reports.entries()) {
      const far = Object.entries(report).flatMap(([layer, { apart }]) =>
        Object.entries(apart)
          .filter(([, distance]) => !(distance < 1e-10))
          .map(([what, distance]) => `${layer} ${what}: ${distance}`),
      );
      expect(far, `rank ${rank}`).toEqual([]);
      const counted = Object.fromEntries(Object.entries(report).map(([layer, { elements }]) => [layer, elements]));
      expect(counted, `rank ${rank}`).toEqual(elementsOf(rank, size));
    }
  });

  it('GPT-2 and Llama run under 1D as they are written', async () => {
    const size = 2;
    const reports = await runRanks<Record<string, ModelReport> & { refused: string }>(size, 'scripts/lineModels.ts');
    for (const [rank, { refused, ...models }] of reports.entries()) {
      for (const [name, { apart, logitsApart, loss, elements }] of Object.entries(models)) {
        expect(loss, name).toBe(reports[0]![name]!.loss);
        expect(loss, name).toBeGreaterThan(1);
        for (const [policy, distance] of Object.entries(apart))
          expect(distance, `${name} ${policy}`).toBeLessThan(1e-10);
        expect(logitsApart, name).toBeLessThan(1e-10);
        // Embedding forward and head backward, four of [tokens, width] in each of three blocks, three of [tokens] in the loss.
        const width = name === 'gpt2' ? 24 : 32;
        const reduced = (count: number): number => allReduce(count, rank, size);
        // Qwen's norms inside heads: two weights of a head's size in every block.
        const norms = name === 'qwen' ? 3 * 2 * reduced(8) : 0;
        expect(elements, name).toBe((2 + 3 * 4) * reduced(12 * width) + 3 * reduced(12) + norms);
      }
      expect(refused).toBe('1 heads of 8 features cannot be cut over tp 2: 1 / 2 is not whole');
    }
    // Half of every cut matrix, 31 of 61 vocabulary rows; positions, norms and biases of row-cut layers whole.
    const block = 4 * 24 + (24 * 72 + 72) / 2 + (24 * 24) / 2 + 24 + (24 * 96 + 96) / 2 + (96 * 24) / 2 + 24;
    expect(reports[0]!.gpt2!.parameters).toBe((31 + 32) * 24 + 3 * block + 2 * 24);
  });
});
