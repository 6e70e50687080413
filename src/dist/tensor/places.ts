/**
 * Where a rank stands among those that share one model: on a line (1D), a square (2D), a deep square (2.5D) or in a cube (3D),
 * with the groups that its layers communicate in. Made once, from a mesh's `tp` axis; layers take it as an option or from
 * `withPlace`, so that `new Linear2D(1024, 16384)` needs nothing else.
 */
import { TierraError } from '../../core/errors.ts';
import type { Communicator } from '../communicator.ts';
import type { Group } from '../group.ts';
import type { Mesh } from '../mesh.ts';
import { cube, deepSquare, type Place, type SubMesh, square } from '../subMesh.ts';

/** All ranks side by side. */
export interface LinePlace {
  readonly kind: '1d';
  readonly groups: { readonly line: Group };
}

/** Rows cut by `column` (its positions are the rows i), columns by `row`. */
export interface SquarePlace {
  readonly kind: '2d';
  readonly edge: number;
  readonly place: Place;
  readonly groups: { readonly row: Group; readonly column: Group };
}

/** As a square, in several layers that hold the same weights and other samples. */
export interface DeepPlace {
  readonly kind: '2.5d';
  readonly edge: number;
  readonly depth: number;
  readonly place: Place;
  readonly groups: { readonly row: Group; readonly column: Group; readonly depth: Group };
}

export interface CubePlace {
  readonly kind: '3d';
  readonly edge: number;
  readonly place: Place;
  readonly groups: { readonly weight: Group; readonly input: Group; readonly output: Group };
}

export type AnyPlace = LinePlace | SquarePlace | DeepPlace | CubePlace;

export function lineOf(mesh: Mesh): LinePlace {
  return { kind: '1d', groups: { line: mesh.group('tp') } };
}

export function squareOf(mesh: Mesh): SquarePlace {
  const shape = square(mesh.layout.degrees.tp);
  return { kind: '2d', edge: shape.edge, place: placeIn(mesh, shape), groups: groupsOf(mesh, shape) };
}

export function deepSquareOf(mesh: Mesh, depth: number): DeepPlace {
  const shape = deepSquare(mesh.layout.degrees.tp, depth);
  const { row, column, depth: deep } = groupsOf(mesh, shape);
  return { kind: '2.5d', edge: shape.edge, depth, place: placeIn(mesh, shape), groups: { row, column, depth: deep } };
}

export function cubeOf(mesh: Mesh): CubePlace {
  const shape = cube(mesh.layout.degrees.tp);
  return { kind: '3d', edge: shape.edge, place: placeIn(mesh, shape), groups: groupsOf(mesh, shape) };
}

const placeIn = (mesh: Mesh, shape: SubMesh<string>): Place => shape.place(mesh.coordinate.tp);

/** Positions of a tensor-parallel group become ranks of the world, for all such groups at once. */
function groupsOf<Names extends string>(mesh: Mesh, shape: SubMesh<Names>): Readonly<Record<Names, Group>> {
  const { communicator, layout } = mesh;
  const lines = layout.partition(['tp']);
  const made = Object.entries<number[][]>(shape.parts).map(([name, parts]) => {
    const all = lines.flatMap((line) => parts.map((part) => part.map((position) => line[position]!)));
    return [name, memberOf(communicator, name, all)];
  });
  return Object.fromEntries(made) as Record<Names, Group>;
}

function memberOf(communicator: Communicator, name: string, parts: readonly (readonly number[])[]): Group {
  return communicator.split(`tp ${name}`, parts)!;
}

let active: AnyPlace | null = null;

/** Layers made inside `body` stand at `place`. */
export function withPlace<Result>(place: AnyPlace, body: () => Result): Result {
  const before = active;
  active = place;
  try {
    return body();
  } finally {
    active = before;
  }
}

/** The place given, or the surrounding `withPlace`'s. Throws `E_STATE` where there is none of a kind that fits. */
export function placeFor<Kind extends AnyPlace['kind']>(
  layer: string,
  kinds: readonly Kind[],
  given: Extract<AnyPlace, { kind: Kind }> | undefined,
): Extract<AnyPlace, { kind: Kind }> {
  const place = given ?? active;
  if (place !== null && (kinds as readonly string[]).includes(place.kind)) {
    return place as Extract<AnyPlace, { kind: Kind }>;
  }
  throw new TierraError(
    'E_STATE',
    `${layer} needs a place of kind ${kinds.join(' or ')}, ${place === null ? 'there is none' : `this one is ${place.kind}`}`,
    { hint: 'Make the model inside withPlace(squareOf(mesh), () => …), or pass { place }.' },
  );
}
