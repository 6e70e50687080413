/** `speculate: auto` stops guessing where steps are clipped, and guesses where they are not; never with other bits. */
import { describe, expect, it } from 'vitest';
import { ChunkStore } from '../../src/offload/chunked/chunkStore.ts';
import { placementNamed } from '../cases/placements.ts';
import { hashesOf, measure, scenario, start, trainSteps, withFolder } from './tiersSupport.ts';

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
});
