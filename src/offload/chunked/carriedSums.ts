/** Sums of gradients over a step's first micro-batches, on their way from one placement to another. */

import type { ChunkPlan, Place } from '../../memory/index.ts';
import { gradientKeys } from '../../memory/stepModel.ts';
import type { ArenaPlace } from '../../native/binding.ts';
import { type Dtype, dtypeBytes } from '../../tensor/index.ts';
import { stateDtype } from '../resident/entries.ts';
import { type CarryFile, readAt, writeAt } from './carry.ts';
import type { Planned } from './planned.ts';

interface Sum {
  /** Parameter and use: what does not depend on the placement. */
  readonly name: string;
  readonly at: ArenaPlace;
  readonly bytes: number;
}

/** Where each use of each parameter has its sum. */
function sumsOf({ map, plan, trace, tiers, homes }: Planned, dtype: Dtype): Sum[] {
  const size = dtypeBytes(stateDtype(dtype));
  const placeOf = (chunk: ChunkPlan, place: Place): ArenaPlace => tiers.memory(homes.slotOf(chunk.chunk, place));
  return plan.chunks.flatMap((chunk) => {
    const backward = trace.moments.filter(({ pass, chunks }) => pass === 'backward' && chunks.includes(chunk.chunk));
    const keys = gradientKeys(
      trace,
      backward.map(({ index }) => index),
    );
    return chunk.gradients.flatMap((place, part) => {
      const [unit, use] = keys[keys.length - 1 - part]!.split('.');
      const { arena, offset } = placeOf(chunk, place);
      return map.layout.chunks[chunk.chunk]!.parameters.map((placed) => ({
        name: `${map.parameters[placed.id]!.name} gradient ${map.units[Number(unit)]!.index}.${use}`,
        at: { arena, offset: offset + placed.offset * size },
        bytes: placed.elements * size,
      }));
    });
  });
}

export function putSums(file: CarryFile, planned: Planned, dtype: Dtype): void {
  for (const { name, at, bytes } of sumsOf(planned, dtype)) file.put(name, bytes, readAt(at));
}

/** A use that the old course did not have keeps what passing over its moments left: nothing. */
export function takeSums(file: CarryFile, planned: Planned, dtype: Dtype): void {
  for (const { name, at } of sumsOf(planned, dtype)) if (file.has(name)) file.take(name, writeAt(at));
}

export const bytesOfSums = (planned: Planned, dtype: Dtype): number =>
  planned.trace.microBatches > 1 ? sumsOf(planned, dtype).reduce((sum, { bytes }) => sum + bytes, 0) : 0;
