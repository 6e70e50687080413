import type { Group } from '../group.ts';
import { plannedGroup } from '../plannedGroup.ts';
import { cube, deepSquare, type SubMesh, square } from '../subMesh.ts';
import type { AnyPlace } from './places.ts';

/** The place of the first of `size` ranks, in groups that nobody has joined: no other rank's part of an uneven vocabulary is larger. */
export function plannedPlace(kind: AnyPlace['kind'], size: number, depth: number | null): AnyPlace {
  if (kind === '1d') return { kind, groups: { line: plannedGroup('tp', size) } };
  if (kind === '3d') {
    const shape = cube(size);
    return { kind, edge: shape.edge, place: shape.place(0), groups: groupsOf(shape) };
  }
  if (kind === '2d') {
    const shape = square(size);
    return { kind, edge: shape.edge, place: shape.place(0), groups: groupsOf(shape) };
  }
  const shape = deepSquare(size, depth ?? 1);
  return { kind, edge: shape.edge, depth: shape.depth, place: shape.place(0), groups: groupsOf(shape) };
}

function groupsOf<Names extends string>({ parts }: SubMesh<Names>): Readonly<Record<Names, Group>> {
  const made = Object.entries<number[][]>(parts).map(([name, [first]]) => [
    name,
    plannedGroup(`tp ${name}`, first!.length),
  ]);
  return Object.fromEntries(made) as Record<Names, Group>;
}
