/**
 * How the ranks of one tensor-parallel group form a square or a cube (Xu et al. 2021 for 2D, Wang et al. 2021 for 2.5D, Bian et
 * al. 2021 for 3D). Everything here counts positions in that group. Pure.
 *
 * - 2D, q² ranks: position = q·i + j. `row`: fixed i, j varies. `column`: fixed j, i varies.
 * - 2.5D, d·q²: position = i + q·(j + q·k). `row` and `column` inside one depth layer k; `depth`: fixed i, j; `columnDepth`: fixed
 *   j, ordered by k, then i.
 * - 3D, d³: position = i + d·(j + d·k). `weight`: i varies. `input`: j varies. `output`: k varies.
 */
import { TierraError } from '../core/errors.ts';

export type SquareGroups = 'row' | 'column';
export type DeepGroups = SquareGroups | 'depth' | 'columnDepth';
export type CubeGroups = 'weight' | 'input' | 'output';

/** One position's place: `i` row, `j` column, `k` depth. */
export interface Place {
  readonly i: number;
  readonly j: number;
  readonly k: number;
}

export interface SubMesh<Names extends string> {
  readonly size: number;
  /** Edge of the square or cube. */
  readonly edge: number;
  /** Layers; 1 in 2D, the edge in 3D. */
  readonly depth: number;
  place(position: number): Place;
  /** The group's parts: every position once, ordered as the group's collectives need. */
  readonly parts: Readonly<Record<Names, number[][]>>;
}

export function square(size: number): SubMesh<SquareGroups> {
  const edge = Math.round(Math.sqrt(size));
  if (edge * edge !== size) {
    throw new TierraError('E_CONFIG', `2D tensor parallelism needs q x q ranks, tp is ${size}`, {
      hint: `The squares next to it are ${Math.floor(Math.sqrt(size)) ** 2} and ${Math.ceil(Math.sqrt(size)) ** 2}.`,
    });
  }
  const place = (position: number): Place => ({ i: Math.floor(position / edge), j: position % edge, k: 0 });
  return {
    size,
    edge,
    depth: 1,
    place,
    parts: {
      row: partsAlong(size, place, ['j']),
      column: partsAlong(size, place, ['i']),
    },
  };
}

/** i runs fastest, then j, then k. */
const layered =
  (edge: number) =>
  (position: number): Place => ({
    i: position % edge,
    j: Math.floor(position / edge) % edge,
    k: Math.floor(position / (edge * edge)),
  });

/** `depth` layers of squares. */
export function deepSquare(size: number, depth: number): SubMesh<DeepGroups> {
  const edge = Math.round(Math.sqrt(size / depth));
  if (!Number.isInteger(depth) || depth < 1 || depth * edge * edge !== size) {
    throw new TierraError(
      'E_CONFIG',
      `2.5D tensor parallelism needs d x q x q ranks: depth ${depth} x q x q = ${size} has no whole q`,
      { hint: 'With 8 ranks take depth 2 (q = 2); depth 1 is 2D.' },
    );
  }
  const place = layered(edge);
  return {
    size,
    edge,
    depth,
    place,
    parts: {
      row: partsAlong(size, place, ['j']),
      column: partsAlong(size, place, ['i']),
      depth: partsAlong(size, place, ['k']),
      columnDepth: partsAlong(size, place, ['i', 'k']),
    },
  };
}

export function cube(size: number): SubMesh<CubeGroups> {
  const edge = Math.round(Math.cbrt(size));
  if (edge ** 3 !== size) {
    throw new TierraError('E_CONFIG', `3D tensor parallelism needs d x d x d ranks, tp is ${size}`, {
      hint: 'Cubes are 8, 27, 64, ...',
    });
  }
  const place = layered(edge);
  return {
    size,
    edge,
    depth: edge,
    place,
    parts: {
      weight: partsAlong(size, place, ['i']),
      input: partsAlong(size, place, ['j']),
      output: partsAlong(size, place, ['k']),
    },
  };
}

/** Positions that differ only in the coordinates `along`, by depth, then column, then row. */
function partsAlong(size: number, place: (position: number) => Place, along: readonly (keyof Place)[]): number[][] {
  const fixed = (['k', 'j', 'i'] as const).filter((axis) => !along.includes(axis));
  const byPlace = Array.from({ length: size }, (_, position) => ({ position, at: place(position) })).sort(
    (a, b) => a.at.k - b.at.k || a.at.j - b.at.j || a.at.i - b.at.i,
  );
  const parts = new Map<string, number[]>();
  for (const { position, at } of byPlace) {
    const key = fixed.map((axis) => at[axis]).join();
    const part = parts.get(key);
    if (part === undefined) parts.set(key, [position]);
    else part.push(position);
  }
  return [...parts.values()];
}
