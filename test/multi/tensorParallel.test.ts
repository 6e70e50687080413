/**
 * Tensor-parallel layers on real processes: equal to whole layers in float64, and as many elements received on every rank as
 * the formulas say. The formulas are written out here once more.
 */
import { describe, expect, it } from 'vitest';
import { cube, deepSquare, square } from '../../src/dist/subMesh.ts';
import { transformerLayerElements } from '../../src/dist/tensor/volumes.ts';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { runRanks } from './ranks.ts';
import type { ModelReport } from './scripts/lineModels.ts';
import { type Mode, type Reports, sizesFor } from './scripts/tensorParallel.ts';

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

/** `tinyGpt2` on 4 rows of 6 tokens: its four linear layers a block are those of `transformerLayerElements`. */
const gpt2 = { tokens: 24, width: 24, vocabulary: 61, positions: 32, blocks: 3 };

/** Forward and backward of the whole model on a rank of a square. */
function gpt2OnSquares(rank: number, size: number, d: number): number {
  const { i, j, k: layer } = (d === 1 ? square(size) : deepSquare(size, d)).place(rank);
  const q = Math.sqrt(size / d);
  const { tokens, width: h, vocabulary, positions, blocks } = gpt2;
  const m = tokens / d;
  const depth = (elements: number): number => (d === 1 ? 0 : allReduce(elements, layer, d));
  const vector = (width: number): number => (2 * (q - 1) * width) / q ** 2 + depth(width / q ** 2);
  const perToken = allReduce(m / q, j, q);
  const norm = 4 * perToken + 2 * vector(h);
  const linears = transformerLayerElements(
    tokens,
    h,
    d === 1 ? { kind: '2d', edge: q } : { kind: '2.5d', edge: q, depth: d },
  );
  const block = linears + vector(3 * h) + vector(h) + vector(4 * h) + vector(h) + 2 * norm;
  const rows = Math.ceil(vocabulary / q);
  const own = Math.min(rows, vocabulary - i * rows) * (h / q);
  const embedding = (2 * (q - 1) * m * h) / q ** 2 + depth(own) + vector(positions * h);
  const logits = (3 * (q - 1) * (m + h) * rows * q) / q ** 2 + depth(own);
  return blocks * block + embedding + norm + logits + 3 * perToken + allReduce(2, i, q) + depth(2);
}

function gpt2OnCube(rank: number, size: number): number {
  const { i, j, k: layer } = cube(size).place(rank);
  const d = Math.cbrt(size);
  const { tokens: m, width: h, vocabulary, positions, blocks } = gpt2;
  const ring = (elements: number): number => (2 * (d - 1) * elements) / d ** 3;
  const vector = (width: number): number => allReduce(width / d, i, d);
  const norm = 4 * allReduce(m / d ** 2, layer, d) + 2 * (vector(h) + allReduce(h / d, j, d));
  const linears = transformerLayerElements(m, h, { kind: '3d', edge: d });
  const block = linears + vector(3 * h) + vector(h) + vector(4 * h) + vector(h) + 2 * norm;
  const v = Math.ceil(vocabulary / d ** 2) * d ** 2;
  const table = ring(positions * h) * (1 + d);
  const loss = 3 * allReduce(m / d ** 2, j, d) + allReduce(2, i, d) + allReduce(2, layer, d);
  return blocks * block + ring(v * h + m * h) + table + norm + ring(m * h + h * v + m * v) + loss;
}

/** Loss, gradients and logits are those of the model on one process. */
function expectWhole(models: Readonly<Record<string, ModelReport>>): void {
  for (const [name, { apart, logitsApart, loss }] of Object.entries(models)) {
    expect(loss, name).toBeGreaterThan(1);
    for (const [policy, distance] of Object.entries(apart)) expect(distance, `${name} ${policy}`).toBeLessThan(1e-10);
    expect(logitsApart, name).toBeLessThan(1e-10);
  }
}

type Count = (rank: number, size: number) => number;
type Row = readonly [
  name: string,
  ranks: number,
  mode: Mode,
  layers: (rank: number, size: number) => Elements,
  gpt2: Count | null,
];

const table: readonly Row[] = [
  ['1D on 2', 2, { kind: '1d' }, line, null],
  ['1D on 3', 3, { kind: '1d' }, line, null],
  ['1D on 4', 4, { kind: '1d' }, line, null],
  ['2D on 4', 4, { kind: '2d' }, (rank, size) => squares(rank, size, 1), (rank, size) => gpt2OnSquares(rank, size, 1)],
  ['2D on 9', 9, { kind: '2d' }, (rank, size) => squares(rank, size, 1), null],
  [
    '2.5D on 8, q = 2, d = 2',
    8,
    { kind: '2.5d', depth: 2 },
    (rank, size) => squares(rank, size, 2),
    (rank, size) => gpt2OnSquares(rank, size, 2),
  ],
  ['3D on 8', 8, { kind: '3d' }, cubes, gpt2OnCube],
];

describe.skipIf(!nativeIsBuilt())('tensor-parallel layers', () => {
  it.each(table)(
    '%s ranks equal whole layers and models, at the volume of the formulas',
    async (_, size, mode, elementsOf, gpt2Of) => {
      const reports = await runRanks<Reports>(size, 'scripts/tensorParallel.ts', { input: mode });
      // Blocks are dropped from differently, and the same way again.
      const dropped = reports.flatMap((report) => (report.dropped === null ? [] : [report.dropped]));
      expect(new Set(dropped.map(([first]) => first)).size).toBe(mode.kind === '1d' ? 0 : size);
      for (const [first, again] of dropped) expect(again).toBe(first);
      for (const [rank, { layers: report, models }] of reports.entries()) {
        const far = Object.entries(report).flatMap(([layer, { apart }]) =>
          Object.entries(apart)
            .filter(([, distance]) => !(distance < 1e-10))
            .map(([what, distance]) => `${layer} ${what}: ${distance}`),
        );
        expect(far, `rank ${rank}`).toEqual([]);
        const counted = Object.fromEntries(Object.entries(report).map(([layer, { elements }]) => [layer, elements]));
        expect(counted, `rank ${rank}`).toEqual(elementsOf(rank, size));
        if (gpt2Of === null) continue;
        expectWhole(models);
        expect(Object.keys(models)).toEqual(['gpt2', 'llama', 'qwen']);
        expect(models.gpt2!.elements, `gpt2, rank ${rank}`).toBeCloseTo(gpt2Of(rank, size), 6);
      }
    },
  );

  it('GPT-2 and Llama run under 1D as they are written', async () => {
    const size = 2;
    const reports = await runRanks<Record<string, ModelReport> & { refused: string }>(size, 'scripts/lineModels.ts');
    for (const [rank, { refused, ...models }] of reports.entries()) {
      expectWhole(models);
      for (const [name, { loss, elements }] of Object.entries(models)) {
        expect(loss, name).toBe(reports[0]![name]!.loss);
        // Embedding forward and head backward, four of [tokens, width] in each of three blocks, three of [tokens] in the loss.
        const width = name === 'gpt2' ? 24 : 32;
        const reduced = (count: number): number => allReduce(count, rank, size);
        // Qwen's norms inside heads: two weights of a head's size in every block.
        const norms = name === 'qwen' ? 3 * 2 * reduced(8) : 0;
        expect(elements, name).toBe((2 + 3 * 4) * reduced(24 * width) + 3 * reduced(24) + norms);
      }
      expect(refused).toBe('1 heads of 8 features cannot be cut over tp 2: 1 / 2 is not whole');
    }
    // Half of every cut matrix, 31 of 61 vocabulary rows; positions, norms and biases of row-cut layers whole.
    const block = 4 * 24 + (24 * 72 + 72) / 2 + (24 * 24) / 2 + 24 + (24 * 96 + 96) / 2 + (96 * 24) / 2 + 24;
    expect(reports[0]!.gpt2!.parameters).toBe((31 + 32) * 24 + 3 * block + 2 * 24);
  });
});
