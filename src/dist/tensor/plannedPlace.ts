import type { Group } from '../group.ts';
import { plannedGroup } from '../plannedGroup.ts';
import { cube, deepSquare, type SubMesh, square } from '../subMesh.ts';
import type { AnyPlace } from './places.ts';

/**
 * The place of one of `size` ranks, in groups that nobody has joined. Of an uneven vocabulary no other rank has a larger part than the
 * first.
 */
export function plannedPlace(kind: AnyPlace['kind'], size: number, depth: number | null, rank = 0): AnyPlace {
  if (kind === '1d') return { kind, groups: { line: plannedGroup('tp', size, rank) } };
  if (kind === '3d') {
    const shape = cube(size);
    return { kind, edge: shape.edge, place: shape.place(rank), groups: groupsOf(shape, rank) };
  }
  if (kind === '2d') {
    const shape = square(size);
    return { kind, edge: shape.edge, place: shape.place(rank), groups: groupsOf(shape, rank) };
  }
  const shape = deepSquare(size, depth ?? 1);
  const { row, column, depth: deep } = groupsOf(shape, rank);
  return { kind, edge: shape.edge, depth: shape.depth, place: shape.place(rank), groups: { row, column, depth: deep } };
}

function groupsOf<Names extends string>({ parts }: SubMesh<Names>, rank: number): Readonly<Record<Names, Group>> {
  const made = Object.entries<number[][]>(parts).map(([name, all]) => {
    const own = all.find((part) => part.includes(rank))!;
    return [name, plannedGroup(`tp ${name}`, own.length, own.indexOf(rank))];
  });
  return Object.fromEntries(made) as Record<Names, Group>;
}
