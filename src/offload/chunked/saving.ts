/** What a checkpoint takes from chunks at rest: which bytes, in which order, after which tickets. */
import { type ChunkId, type Plan, parameterBytes, type SlotId, stateBytes } from '../../memory/index.ts';
import type { SaveBlock, SaveSource, SaveTensor } from '../saving.ts';
import type { HomeKind } from './homes.ts';
import type { Planned } from './planned.ts';
import { type SavedFormat, type SavedKind, savedRange } from './savedKinds.ts';
import type { ModelMap } from './stepTrace.ts';

export interface ChunkBlock {
  readonly chunk: ChunkId;
  readonly home: HomeKind;
  readonly bytes: number;
  readonly tensors: readonly { readonly tensor: SaveTensor; readonly offset: number }[];
}

/** Chunk by chunk: the parameter's bytes where they say more than the state's, then the state plane by plane. */
export function chunkBlocks(map: ModelMap, { types, trained, frozen }: SavedFormat): ChunkBlock[] {
  return map.layout.chunks.flatMap((chunk): ChunkBlock[] => {
    const block = (home: HomeKind, kinds: readonly SavedKind[]): ChunkBlock => {
      const tensors = kinds.flatMap((saved) =>
        chunk.parameters.map((placed, index) => {
          const { offset, ...rest } = savedRange(chunk, index, saved, types);
          const { kind, dtype } = saved;
          return { tensor: { parameter: map.parameters[placed.id]!, kind, dtype, ...rest }, offset };
        }),
      );
      const bytes = home === 'parameter' ? parameterBytes(chunk, types) : stateBytes(chunk, types);
      return { chunk: chunk.id, home, bytes, tensors };
    };
    const kinds = chunk.trainable ? trained : frozen;
    const alone = kinds.filter(({ plane }) => plane === null);
    const inState = kinds.filter(({ plane }) => plane !== null);
    return [
      ...(alone.length === 0 ? [] : [block('parameter', alone)]),
      ...(inState.length === 0 ? [] : [block('state', inState)]),
    ];
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
