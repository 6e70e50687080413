/** A few of the kills of `npm run soak:ranks`: the right rank is named, the others leave, and the run ends as if nothing had been. */
import { describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { killRanks, type RankKill, type RankSetup, undisturbed } from './rankKills.ts';

const setup: RankSetup = { name: '2 ranks, ZeRO 3, disk', ranks: 2, zero: 3, tiers: 'disk' };
const steps = 16;
const kills: readonly RankKill[] = [
  { rank: 1, from: 'step', afterMs: 150 },
  { rank: 0, from: 'step', afterMs: 300 },
];

describe.skipIf(!nativeIsBuilt())('ranks that are killed', { timeout: 600_000 }, () => {
  it('are named, and the job goes on from its last checkpoint to the same bits', async () => {
    const reference = await undisturbed(setup, steps);
    expect(reference.losses.size).toBe(steps);
    const { outcomes, complaints } = await killRanks(setup, steps, kills, reference);
    expect(complaints).toEqual([]);
    expect(outcomes.map(({ killed, complaints: mine }) => ({ killed, mine }))).toEqual(
      kills.map(() => ({ killed: true, mine: [] })),
    );
  });
});
