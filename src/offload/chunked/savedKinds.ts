/** The tensors of a checkpoint that a chunk's bytes are, and where in them each parameter's lies. */
import {
  type Chunk,
  type ElementBytes,
  entriesFor,
  firstEntry,
  planeOffset,
  type StatePlane,
  statePlanes,
  weightPlane,
} from '../../memory/index.ts';
import { type Dtype, dtypeBytes } from '../../tensor/index.ts';
import { planeDtype } from '../elementTypes.ts';
import type { StateKind } from '../store.ts';

export interface SavedKind {
  readonly kind: StateKind;
  readonly dtype: Dtype;
  /** The plane of the state that has it; null for weights that only the chunk's own bytes have. */
  readonly plane: StatePlane | null;
}

export interface SavedFormat {
  readonly types: ElementBytes;
  /** Of a chunk with state, the weight first. */
  readonly trained: readonly SavedKind[];
  /** Of any other. */
  readonly frozen: readonly SavedKind[];
}

/** `moments` is how many the update rule keeps, -1 where there are no states at all. */
export function savedFormat(dtype: Dtype, types: ElementBytes, moments: number): SavedFormat {
  const frozen: SavedKind[] = [{ kind: 'weight', dtype, plane: null }];
  if (moments < 0) return { types, trained: frozen, frozen };
  const planes = statePlanes(types);
  const ownWeight = weightPlane(types);
  const unused = (['moment1', 'moment2'] as const).slice(moments) as readonly string[];
  const others = planes
    .filter(({ kind }) => kind !== ownWeight && !unused.includes(kind))
    .map((plane): SavedKind => ({ kind: plane.kind, dtype: planeDtype(plane.kind, dtype), plane }));
  const plane = planes.find(({ kind }) => kind === ownWeight) ?? null;
  return { types, trained: [{ kind: 'weight', dtype, plane }, ...others], frozen };
}

/** Where parameter `index` of a chunk has its entries: bytes from the beginning of the state (of the chunk itself, where `plane` is null). */
export function savedRange(
  chunk: Chunk,
  index: number,
  { dtype, plane }: SavedKind,
  types: ElementBytes,
): { readonly offset: number; readonly bytes: number; readonly shape?: readonly number[] } {
  const { offset, elements } = chunk.parameters[index]!;
  const size = dtypeBytes(dtype);
  if (plane === null) return { offset: offset * size, bytes: elements * size };
  const entries = entriesFor(plane, elements);
  return {
    offset: planeOffset(chunk, types, plane.kind) + firstEntry(chunk, plane, index) * size,
    bytes: entries * size,
    ...(plane.entryElements === 1 ? {} : { shape: [entries] }),
  };
}
