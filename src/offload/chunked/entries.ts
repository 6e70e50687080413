import { TierraError } from '../../core/errors.ts';
import { native } from '../../native/load.ts';
import { type Dtype, dtypeBytes } from '../../tensor/index.ts';
import { stateDtype } from '../resident/entries.ts';
import type { StateEntry, StateKind } from '../store.ts';
import type { Homes } from './homes.ts';
import type { ModelMap } from './stepTrace.ts';

const planes: readonly StateKind[] = ['master', 'moment1', 'moment2'];

/**
 * Checkpoint entries over chunks at rest. Where weight and master have one type there is one entry, and writing it
 * writes both. `moments` is the number of moments kept, -1 where there is no state at all.
 */
export function chunkEntries(map: ModelMap, homes: Homes, dtype: Dtype, moments: number): StateEntry[] {
  const wide = stateDtype(dtype);
  const entries = new Map<number, StateEntry[]>();
  for (const chunk of map.layout.chunks) {
    const hasState = chunk.trainable && moments >= 0;
    for (const placed of chunk.parameters) {
      const parameter = map.parameters[placed.id]!;
      const place = (kind: 'parameter' | 'state', plane: number, size: number, write: boolean) => {
        const { arena, offset } = homes.bytes(chunk.id, kind, write);
        return { arena, offset: offset + (plane * chunk.elements + placed.offset) * size };
      };
      const entry = (kind: StateKind): StateEntry => {
        const [home, plane] =
          kind === 'weight' ? (['parameter', 0] as const) : (['state', planes.indexOf(kind)] as const);
        const type = kind === 'weight' ? dtype : wide;
        const size = dtypeBytes(type);
        const put = (to: 'parameter' | 'state', toPlane: number, from: Uint8Array, byteOffset: number) => {
          const { arena, offset } = place(to, toPlane, size, true);
          native().arenaWrite(arena, offset + byteOffset, from);
          if (byteOffset + from.length === placed.elements * size) homes.flush();
        };
        return {
          parameter,
          kind,
          dtype: type,
          bytes: placed.elements * size,
          read(into, byteOffset) {
            const { arena, offset } = place(home, plane, size, false);
            native().arenaRead(arena, offset + byteOffset, into);
          },
          write(from, byteOffset) {
            put(home, plane, from, byteOffset);
            if (kind === 'weight' && wide === dtype && hasState) put('state', 0, from, byteOffset);
          },
        };
      };
      const kinds: StateKind[] = ['weight'];
      if (hasState && wide !== dtype) kinds.push('master');
      if (hasState) kinds.push(...(['moment1', 'moment2'] as const).slice(0, moments));
      entries.set(placed.id, kinds.map(entry));
    }
  }
  // In parameter order of the model, as every store lists them.
  const order = [...entries.keys()].sort((a, b) => a - b);
  if (order.length === 0) throw new TierraError('E_STATE', 'the model has no parameters');
  return order.flatMap((id) => entries.get(id)!);
}
