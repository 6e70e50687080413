/** `speculate: auto` stops guessing where steps are clipped, and guesses where they are not; never with other bits. */
import { describe, expect, it } from 'vitest';
import { ChunkStore } from '../../src/offload/chunked/chunkStore.ts';
import { type MemoryInput, placementNamed, updatesBy } from '../cases/placements.ts';
import { hashesOf, measure, planOf, scenario, start, trainSteps, withFolder } from './tiersSupport.ts';

const steps = 6;

describe('updates that guess that nothing will be clipped', () => {
  it.each([
    ['always clipped: one guess was wrong, then none is made', 1e-4, { right: 0, redone: 1, waited: steps - 1 }],
    ['never clipped: every guess is right', 1e4, { right: steps, redone: 0, waited: 0 }],
  ])('%s', (_, clipNorm, counts) => {
    const clipped = scenario('guesses', { train: { accumulate: 1, clipNorm } });
    const resident = start(clipped, {});
    const expected = [trainSteps(resident, steps), hashesOf(resident)];
    resident.dispose();
    withFolder((folder) => {
      const engine = start(clipped, placementNamed('tight GPU and CPU').memory(measure(clipped), folder));
      try {
        expect([trainSteps(engine, steps), hashesOf(engine)]).toEqual(expected);
        const { store } = engine;
        if (!(store instanceof ChunkStore)) throw new Error('not on tiers');
        expect(store.report()?.guesses).toEqual(counts);
      } finally {
        engine.dispose();
      }
    });
  });

  it('gives new parameters first and lets states follow where no step guesses', () => {
    const memory: MemoryInput = { gpu: '1GiB', cpu: '1GiB', policy: 'static' };
    const updatedBytes = [1e-4, 1e4].map((clipNorm) => {
      const clipped = scenario('guesses', { train: { accumulate: 1, clipNorm } });
      const resident = start(clipped, {});
      const expected = [trainSteps(resident, steps), hashesOf(resident)];
      resident.dispose();
      const engine = start(clipped, memory);
      try {
        expect([trainSteps(engine, steps), hashesOf(engine)]).toEqual(expected);
        const plan = planOf(engine);
        expect(updatesBy(plan, 'speculated') + updatesBy(plan, 'none')).toBe(plan.chunks.length);
        return (engine.store as ChunkStore).report()!.lanes.update.bytes;
      } finally {
        engine.dispose();
      }
    });
    // Of fp32 a preview reads 4 numbers and writes 1, and the state's update reads 4 and writes 3; at once 4 and 4.
    expect(updatedBytes[0]! / updatedBytes[1]!).toBeCloseTo((5 + 7) / 8, 2);
  });
});
