/** Checkpoint entries of real parameters over those of shards. */
import { momentBlock } from '../../memory/index.ts';
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
    // Shards, parameters in them and what ranks have of parameters begin with whole blocks.
    const block = entry.shape === undefined ? 1 : momentBlock;
    const entriesOf = (elements: number): number => Math.ceil(elements / block);
    for (const slice of shards.slices(shards.flatOf(entry.parameter))) {
      const { parameter, from, offset } = slice;
      const elements = entriesOf(slice.elements);
      const begin = (offset / block) * size;
      const part: StateEntry = {
        parameter,
        kind: entry.kind,
        dtype: entry.dtype,
        ...(entry.shape === undefined ? {} : { shape: [entriesOf(parameter.elements)] }),
        bytes: elements * size,
        part: { begin: from / block, elements },
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
