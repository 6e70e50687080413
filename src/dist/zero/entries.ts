/** Checkpoint entries of real parameters over those of shards. */
import type { Parameter } from '../../nn/index.ts';
import type { StateEntry } from '../../offload/store.ts';
import { dtypeBytes } from '../../tensor/index.ts';
import type { ShardModel } from './shardModel.ts';

/**
 * The parts of `parameters`, in their order, that the shards behind `entries` hold; parameters of which there is nothing
 * are left out. `written` is called after a write, when gathered values are no longer those of the shards.
 */
export function shardEntries(
  shards: ShardModel,
  parameters: readonly Parameter[],
  entries: readonly StateEntry[],
  written: () => void,
): StateEntry[] {
  const found = new Map<Parameter, StateEntry[]>();
  for (const entry of entries) {
    const size = dtypeBytes(entry.dtype);
    for (const slice of shards.slices(shards.flatOf(entry.parameter))) {
      const { parameter, from, elements, offset } = slice;
      const begin = offset * size;
      const part: StateEntry = {
        parameter,
        kind: entry.kind,
        dtype: entry.dtype,
        bytes: elements * size,
        part: { begin: from, elements },
        read: (into, byteOffset) => entry.read(into, begin + byteOffset),
        write(bytes, byteOffset) {
          entry.write(bytes, begin + byteOffset);
          written();
        },
      };
      const known = found.get(parameter);
      if (known === undefined) found.set(parameter, [part]);
      else known.push(part);
    }
  }
  return parameters.flatMap((parameter) => found.get(parameter) ?? []);
}
