import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TierraError } from '../../../src/core/errors.ts';
import { axes, type Degrees, MeshLayout } from '../../../src/dist/mesh.ts';
import { cube, deepSquare, square } from '../../../src/dist/subMesh.ts';

const message = (body: () => unknown): string => {
  try {
    body();
  } catch (error) {
    return (error as TierraError).message;
  }
  return 'nothing was thrown';
};

describe('MeshLayout', () => {
  it('puts tp innermost, then ep, sp, pp, and dp outermost', () => {
    const mesh = new MeshLayout(16, { dp: 2, pp: 2, tp: 4 });
    expect(mesh.partition(['tp'])[0]).toEqual([0, 1, 2, 3]);
    expect(mesh.partition(['pp'])[0]).toEqual([0, 4]);
    expect(mesh.partition(['dp'])).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((rank) => [rank, rank + 8]));
    expect(mesh.partition(['dp', 'tp'])).toEqual([
      [0, 1, 2, 3, 8, 9, 10, 11],
      [4, 5, 6, 7, 12, 13, 14, 15],
    ]);
    expect(mesh.partition([])).toHaveLength(16);
    expect(mesh.describe()).toBe('dp 2 x pp 2 x tp 4');
  });

  it('gives dp what the others leave', () => {
    expect(new MeshLayout(12, { tp: 2, pp: 3 }).degrees).toEqual({ dp: 2, pp: 3, sp: 1, ep: 1, tp: 2 });
    expect(new MeshLayout(1).describe()).toBe('one rank');
  });

  it('refuses degrees with the equation and the numbers', () => {
    expect([
      message(() => new MeshLayout(6, { dp: 2, pp: 2, tp: 2 })),
      message(() => new MeshLayout(6, { pp: 2, tp: 2 })),
      message(() => new MeshLayout(6, { tp: 0 })),
      message(() => new MeshLayout(4, { tp: 1.5 })),
      message(() => new MeshLayout(4).coordinate(4)),
      message(() => new MeshLayout(4, { tp: 2 }).rankAt({ tp: 2 })),
    ]).toMatchInlineSnapshot(`
      [
        "dp 2 x pp 2 x tp 2 = 8, but the world has 6 ranks",
        "pp 2 x tp 2 = 4 does not divide the world's 6 ranks",
        "the degree of tp is 0, it must be a whole number of at least 1",
        "the degree of tp is 1.5, it must be a whole number of at least 1",
        "rank 4 is not in a mesh of 4",
        "tp 2 is outside of a mesh with tp 2",
      ]
    `);
  });

  const degree = fc.integer({ min: 1, max: 3 });
  it('is a bijection, and every partition along any axes holds every rank once, differing only there', () => {
    fc.assert(
      fc.property(
        fc.record({ dp: degree, pp: degree, sp: degree, ep: degree, tp: degree }),
        fc.subarray([...axes]),
        (degrees: Degrees, along) => {
          const mesh = new MeshLayout(
            axes.reduce((product, axis) => product * degrees[axis]!, 1),
            degrees,
          );
          for (let rank = 0; rank < mesh.size; rank++) expect(mesh.rankAt(mesh.coordinate(rank))).toBe(rank);
          const parts = mesh.partition(along);
          expect(parts.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: mesh.size }, (_, rank) => rank));
          for (const part of parts) {
            expect(part).toHaveLength(along.reduce((product, axis) => product * degrees[axis]!, 1));
            const fixed = part.map((rank) =>
              axes
                .filter((axis) => !along.includes(axis))
                .map((axis) => mesh.coordinate(rank)[axis])
                .join(),
            );
            expect(new Set(fixed).size).toBe(1);
          }
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe('squares and cubes of tensor-parallel ranks', () => {
  it('are those of the papers', () => {
    expect(square(4).parts).toEqual({
      row: [
        [0, 1],
        [2, 3],
      ],
      column: [
        [0, 2],
        [1, 3],
      ],
    });
    expect(deepSquare(8, 2).parts).toEqual({
      row: [
        [0, 2],
        [1, 3],
        [4, 6],
        [5, 7],
      ],
      column: [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
      ],
      depth: [
        [0, 4],
        [1, 5],
        [2, 6],
        [3, 7],
      ],
      columnDepth: [
        [0, 1, 4, 5],
        [2, 3, 6, 7],
      ],
    });
    expect(cube(8).parts).toEqual({
      weight: [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
      ],
      input: [
        [0, 2],
        [1, 3],
        [4, 6],
        [5, 7],
      ],
      output: [
        [0, 4],
        [1, 5],
        [2, 6],
        [3, 7],
      ],
    });
  });

  it('refuse other counts', () => {
    expect([message(() => square(6)), message(() => deepSquare(8, 3)), message(() => cube(9))]).toMatchInlineSnapshot(`
      [
        "2D tensor parallelism needs q x q ranks, tp is 6",
        "2.5D tensor parallelism needs d x q x q ranks: depth 3 x q x q = 8 has no whole q",
        "3D tensor parallelism needs d x d x d ranks, tp is 9",
      ]
    `);
  });
});
