import { describe, expect, it } from 'vitest';
import { type ParkEvent, parkedBytes, parkingBytes, parkingNeed, Region } from '../../../src/memory/parking.ts';

const page = 4096;

/** Every tensor leaves in order and comes back in reverse, as one micro-batch of a sequence of units does. */
function thereAndBack(sizes: readonly number[]): ParkEvent[] {
  const out = sizes.map((bytes, index) => ({ kind: 'park' as const, index, bytes }));
  return [...out, ...[...out].reverse().map((event) => ({ ...event, kind: 'unpark' as const }))];
}

describe('a region', () => {
  it('takes the lowest range that fits, and knows its highest end', () => {
    const region = new Region(10);
    expect([region.take(4), region.take(3), region.take(3)]).toEqual([0, 4, 7]);
    expect(region.take(1)).toBeNull();
    region.give(4);
    expect(region.take(2)).toBe(4);
    expect(region.take(2)).toBeNull();
    expect(region.take(1)).toBe(6);
    expect(region.peakBytes).toBe(10);
  });
});

describe('what parking needs', () => {
  const shape = { microBatches: 3, vertical: false };

  it('is one micro-batch at a time in the horizontal order, all of them in the vertical', () => {
    const events = thereAndBack([100, page + 1, page]);
    expect(parkingNeed('host', events, shape)).toEqual({ tier: 'host', regionBytes: 4 * page, largestBytes: 2 * page });
    expect(parkingNeed('host', events, { ...shape, vertical: true }).regionBytes).toBe(3 * 4 * page);
  });

  it('counts trailers and staging slots on disk', () => {
    const need = parkingNeed('nvme', thereAndBack([page, page]), shape);
    expect(need.regionBytes).toBe(2 * parkedBytes('nvme', page));
    expect(parkingBytes(need)).toEqual({ gpu: 2 * page, host: 4 * page, nvme: 4 * page });
  });

  it('is nothing where nothing is parked', () => {
    expect(parkingBytes(parkingNeed('host', [], shape))).toEqual({ gpu: 0, host: 0, nvme: 0 });
    expect(parkingBytes(null)).toEqual({ gpu: 0, host: 0, nvme: 0 });
  });
});
