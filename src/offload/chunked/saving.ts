/** What a checkpoint takes from chunks at rest: which bytes, in which order, after which tickets. */
import type { ChunkId, Plan, SlotId } from '../../memory/index.ts';
import { type Dtype, dtypeBytes } from '../../tensor/index.ts';
import { stateDtype } from '../resident/entries.ts';
import type { SaveBlock, SaveSource, SaveTensor } from '../saving.ts';
import type { StateKind } from '../store.ts';
import type { HomeKind } from './homes.ts';
import type { Planned } from './planned.ts';
import type { ModelMap } from './stepTrace.ts';

export interface ChunkBlock {
  readonly chunk: ChunkId;
  readonly home: HomeKind;
  readonly bytes: number;
  readonly tensors: readonly { readonly tensor: SaveTensor; readonly offset: number }[];
}

/**
 * Chunk by chunk: the parameter's bytes where they say more than the state's, then the state plane by plane. `moments` is the
 * number of moments kept, -1 where there is no state.
 */
export function chunkBlocks(map: ModelMap, dtype: Dtype, moments: number): ChunkBlock[] {
  const wide = stateDtype(dtype);
  return map.layout.chunks.flatMap((chunk): ChunkBlock[] => {
    const hasState = chunk.trainable && moments >= 0;
    const block = (home: HomeKind, type: Dtype, planes: number, kinds: readonly StateKind[]): ChunkBlock => {
      const size = dtypeBytes(type);
      const tensors = kinds.flatMap((kind, plane) =>
        chunk.parameters.map((placed) => ({
          tensor: { parameter: map.parameters[placed.id]!, kind, dtype: type, bytes: placed.elements * size },
          offset: (plane * chunk.elements + placed.offset) * size,
        })),
      );
      return { chunk: chunk.id, home, bytes: planes * chunk.elements * size, tensors };
    };
    const kept = (['moment1', 'moment2'] as const).slice(0, Math.max(0, moments));
    if (!hasState) return [block('parameter', dtype, 1, ['weight'])];
    // In one type the master is the weight.
    if (wide === dtype) return [block('state', wide, 3, ['weight', ...kept])];
    return [block('parameter', dtype, 1, ['weight']), block('state', wide, 3, ['master', ...kept])];
  });
}

export function isOnDisk(plan: Plan, { chunk, home }: ChunkBlock): boolean {
  const { parameterHome, stateHome } = plan.chunks[chunk]!;
  return (home === 'parameter' ? parameterHome : stateHome) === 'nvme';
}

export interface PlacedBlock {
  readonly block: SaveBlock;
  readonly slot: SlotId;
}

/** The blocks as they lie when the tickets of the last step are done. */
export function placeBlocks(
  blocks: readonly ChunkBlock[],
  { homes, tiers, walker }: Planned,
  device: string,
): PlacedBlock[] {
  const { lastMoment } = walker;
  let index = 0;
  return blocks.map(({ chunk, home, bytes, tensors }) => {
    const slot = homes.restSlot(chunk, home);
    const source = ((): SaveSource => {
      const { tier } = tiers.slot(slot);
      if (tier === 'nvme') return { from: 'disk', ...tiers.extent(slot), stamp: homes.stamp(chunk, home) };
      const place = tiers.memory(slot);
      if (tier === 'gpu' && device !== 'cpu') return { from: 'gpu', ...place, afterMoment: lastMoment };
      return { from: 'arena', ...place };
    })();
    const inside = tensors.map(({ tensor, offset }) => ({ index: index++, offset, bytes: tensor.bytes }));
    return { block: { source, chunk, bytes, tensors: inside, after: walker.ticketsOf(chunk) }, slot };
  });
}
