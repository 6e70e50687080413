import { TierraError } from '../../core/errors.ts';
import { native } from '../../native/load.ts';
import type { StateEntry } from '../store.ts';
import type { HomeKind, Homes } from './homes.ts';
import { type SavedFormat, type SavedKind, savedRange } from './savedKinds.ts';
import type { ModelMap } from './stepTrace.ts';

/** Checkpoint entries over chunks at rest. Where the state has the weight too, there is one entry, and writing it writes both. */
export function chunkEntries(map: ModelMap, homes: Homes, { types, trained, frozen }: SavedFormat): StateEntry[] {
  const entries = new Map<number, StateEntry[]>();
  for (const chunk of map.layout.chunks) {
    for (const [index, placed] of chunk.parameters.entries()) {
      const entry = (saved: SavedKind): StateEntry => {
        const inState = savedRange(chunk, index, saved, types);
        const isWeight = saved.kind === 'weight';
        const { bytes, offset } = isWeight ? savedRange(chunk, index, { ...saved, plane: null }, types) : inState;
        const put = (home: HomeKind, at: number, from: Uint8Array) => {
          const place = homes.bytes(chunk.id, home, true);
          native().arenaWrite(place.arena, place.offset + at, from);
        };
        const home = isWeight ? 'parameter' : 'state';
        return {
          parameter: map.parameters[placed.id]!,
          kind: saved.kind,
          dtype: saved.dtype,
          ...(inState.shape === undefined ? {} : { shape: inState.shape }),
          bytes,
          read(into, byteOffset) {
            const place = homes.bytes(chunk.id, home, false);
            native().arenaRead(place.arena, place.offset + offset + byteOffset, into);
          },
          write(from, byteOffset) {
            put(home, offset + byteOffset, from);
            const isLast = byteOffset + from.length === bytes;
            if (isLast) homes.flush();
            if (!isWeight || saved.plane === null) return;
            put('state', inState.offset + byteOffset, from);
            if (isLast) homes.flush();
          },
        };
      };
      entries.set(placed.id, (chunk.trainable ? trained : frozen).map(entry));
    }
  }
  // In parameter order of the model, as every store lists them.
  const order = [...entries.keys()].sort((a, b) => a - b);
  if (order.length === 0) throw new TierraError('E_STATE', 'the model has no parameters');
  return order.flatMap((id) => entries.get(id)!);
}
