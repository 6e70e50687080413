/**
 * What the state of a chunk is made of: planes, one after another, each laid out like the chunk itself. Everything that reads, writes,
 * sizes or saves states goes by this table.
 *
 * `exact`: master, first and second moment in the state's type.
 *
 * `compressed` (native/src/optim/compressed.h): the weight, the bits of the fp32 master that a bf16 weight leaves out, and both moments in eight
 * bits with one fp32 scale for each block of a parameter's elements. The weight is there a second time, beside the chunk's own: a
 * gradient takes the place of the chunk's parameters before the update, and half of the master must not be lost with them.
 */
import { roundUp } from '../core/units.ts';
import type { Chunk } from './chunk.ts';
import type { ElementBytes } from './types.ts';

export type StateFormat = 'exact' | 'compressed';

export type PlaneKind =
  | 'master'
  | 'moment1'
  | 'moment2'
  | 'weight'
  | 'correction'
  | 'moment1Codes'
  | 'moment1Scales'
  | 'moment2Codes'
  | 'moment2Scales';

export interface StatePlane {
  readonly kind: PlaneKind;
  readonly entryBytes: number;
  /** Elements that share an entry, counted from the first of their parameter: blocks never go from one parameter to the next. */
  readonly entryElements: number;
}

/** Elements of compressed moments that share one scale. */
export const momentBlock = 256;

/** The planes of a state, in the order in which they lie. */
export function statePlanes({ computeBytes, stateBytes, states = 'exact' }: ElementBytes): readonly StatePlane[] {
  const plane = (kind: PlaneKind, entryBytes: number, entryElements = 1): StatePlane => {
    return { kind, entryBytes, entryElements };
  };
  if (states === 'exact') return (['master', 'moment1', 'moment2'] as const).map((kind) => plane(kind, stateBytes));
  return [
    plane('weight', computeBytes),
    ...(computeBytes === 2 ? [plane('correction', 2)] : []),
    plane('moment1Codes', 1),
    plane('moment1Scales', 4, momentBlock),
    plane('moment2Codes', 1),
    plane('moment2Scales', 4, momentBlock),
  ];
}

/** The plane that says a chunk's weights as they are computed with, where there is one. */
export function weightPlane(types: ElementBytes): PlaneKind | null {
  const holdsWeights = types.states === 'compressed' || types.computeBytes === types.stateBytes;
  return holdsWeights ? valuePlane(types) : null;
}

/** The plane that a parameter's first value goes to. */
export const valuePlane = (types: ElementBytes): 'master' | 'weight' =>
  types.states === 'compressed' ? 'weight' : 'master';

/** Planes begin on whole cache lines. */
const planeQuantum = 64;
/** States that are not whole blocks of a disk by themselves are made so. */
const stateQuantum = 4096;

/** Entries of a plane for `elements` elements of one parameter. */
export const entriesFor = ({ entryElements }: StatePlane, elements: number): number =>
  Math.ceil(elements / entryElements);

/** The first entry of the chunk's parameter `index` in a plane. */
export function firstEntry({ parameters }: Pick<Chunk, 'parameters'>, plane: StatePlane, index: number): number {
  if (plane.entryElements === 1) return parameters[index]!.offset;
  return parameters.slice(0, index).reduce((sum, { elements }) => sum + entriesFor(plane, elements), 0);
}

/** Entries of a plane in the whole chunk, padding included. */
export function planeEntries(chunk: Pick<Chunk, 'elements' | 'parameters'>, plane: StatePlane): number {
  return plane.entryElements === 1 ? chunk.elements : firstEntry(chunk, plane, chunk.parameters.length);
}

const planeBytes = (chunk: Pick<Chunk, 'elements' | 'parameters'>, plane: StatePlane): number =>
  roundUp(planeEntries(chunk, plane) * plane.entryBytes, planeQuantum);

/** Where a plane begins, in bytes from the beginning of the chunk's state. */
export function planeOffset(
  chunk: Pick<Chunk, 'elements' | 'parameters'>,
  types: ElementBytes,
  kind: PlaneKind,
): number {
  let offset = 0;
  for (const plane of statePlanes(types)) {
    if (plane.kind === kind) return offset;
    offset += planeBytes(chunk, plane);
  }
  throw new RangeError(`these states have no plane ${kind}`);
}

/** Bytes of a chunk's state, all planes; 0 when it is frozen. */
export function stateBytes(chunk: Pick<Chunk, 'elements' | 'parameters' | 'trainable'>, types: ElementBytes): number {
  if (!chunk.trainable) return 0;
  return roundUp(
    statePlanes(types).reduce((sum, plane) => sum + planeBytes(chunk, plane), 0),
    stateQuantum,
  );
}

/** Bytes of state per element, padding and the ends of blocks left out. */
export const stateBytesPerElement = (types: ElementBytes): number =>
  statePlanes(types).reduce((sum, { entryBytes, entryElements }) => sum + entryBytes / entryElements, 0);
