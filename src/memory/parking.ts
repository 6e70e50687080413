/**
 * Room for activations that are parked below the GPU between forward and backward. A step parks and brings back the same
 * bytes in the same order, so that the room is known once one micro-batch was watched.
 */
import { roundUp } from '../core/units.ts';
import type { PerTier } from './types.ts';

export interface ParkEvent {
  readonly kind: 'park' | 'unpark';
  /** Which of the micro-batch's parked tensors, counted as they were parked. */
  readonly index: number;
  readonly bytes: number;
}

/** Transfers of parked bytes under way at one time, in each direction of the link: what the GPU holds beside the trace. */
export const parkingDepth = 2;

const pageBytes = 4096;

/** Staging slots on the host for bytes on their way to and from disk. */
export const parkingStages = 2 * parkingDepth;

/** Bytes that a parked tensor takes: whole pages, and on disk a trailer. */
export const parkedBytes = (tier: ParkingTier, bytes: number): number =>
  roundUp(bytes, pageBytes) + (tier === 'nvme' ? pageBytes : 0);

export type ParkingTier = 'host' | 'nvme';

export interface ParkingNeed {
  readonly tier: ParkingTier;
  /** Size of the region that parked tensors share. */
  readonly regionBytes: number;
  /** The largest tensor, in whole pages. */
  readonly largestBytes: number;
}

/** What a step of `microBatches` needs: one after another, or (vertical) each event once per micro-batch in turn. */
export function parkingNeed(
  tier: ParkingTier,
  events: readonly ParkEvent[],
  { microBatches, vertical }: { readonly microBatches: number; readonly vertical: boolean },
): ParkingNeed {
  const turns = vertical ? microBatches : 1;
  const region = new Region(Number.POSITIVE_INFINITY);
  const places = new Map<string, number>();
  let largestBytes = 0;
  for (const { kind, index, bytes } of events) {
    largestBytes = Math.max(largestBytes, roundUp(bytes, pageBytes));
    for (let turn = 0; turn < turns; turn++) {
      const key = `${index} ${turn}`;
      if (kind === 'park') places.set(key, region.take(parkedBytes(tier, bytes))!);
      else region.give(places.get(key)!);
    }
  }
  return { tier, regionBytes: region.peakBytes, largestBytes };
}

/** What a need takes of each tier. */
export function parkingBytes(need: ParkingNeed | null): PerTier {
  if (need === null || need.regionBytes === 0) return { gpu: 0, host: 0, nvme: 0 };
  const { tier, regionBytes, largestBytes } = need;
  const gpu = parkingDepth * largestBytes;
  if (tier === 'host') return { gpu, host: regionBytes, nvme: 0 };
  return { gpu, host: parkingStages * largestBytes, nvme: regionBytes };
}

interface Block {
  readonly offset: number;
  readonly bytes: number;
}

/** Byte ranges by first fit. */
export class Region {
  readonly #bytes: number;
  /** Taken, ascending. */
  readonly #taken: Block[] = [];
  #peakBytes = 0;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  /** The end of the highest range that was ever taken. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  /** Offset of a free range, or null when there is none. */
  take(bytes: number): number | null {
    let offset = 0;
    let position = 0;
    for (const block of this.#taken) {
      if (block.offset - offset >= bytes) break;
      offset = block.offset + block.bytes;
      position++;
    }
    if (offset + bytes > this.#bytes) return null;
    this.#taken.splice(position, 0, { offset, bytes });
    this.#peakBytes = Math.max(this.#peakBytes, offset + bytes);
    return offset;
  }

  give(offset: number): void {
    const position = this.#taken.findIndex((block) => block.offset === offset);
    if (position >= 0) this.#taken.splice(position, 1);
  }
}
