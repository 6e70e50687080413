/** A dozen of the kills of `npm run soak:kill`: whatever the moment, the run goes on to the bits of one left alone. */
import { describe, expect, it } from 'vitest';
import { built, saveScenario } from '../native/checkpointRuns.ts';
import { measure } from '../native/tiersSupport.ts';
import {
  finishRun,
  type Kill,
  killOnce,
  killPoints,
  killText,
  newFolder,
  oracleLines,
  randomFrom,
  remove,
} from './killRuns.ts';

const steps = 60;

describe('SIGKILL with all tiers in use', () => {
  it('at a dozen points, one after another in one run', { timeout: 600_000 }, async () => {
    const bytes = measure(saveScenario(built(), 'out', 'bf16'));
    const oracle = await oracleLines(steps);
    const random = randomFrom(7);
    const every = killPoints.filter((_, index) => index % 3 === 1);
    const kills: Kill[] = [
      ...every.map(([site, most]): Kill => ({ at: 'point', site, k: 1 + Math.floor(random() * most) })),
      { at: 'random', afterMs: 100 },
      { at: 'random', afterMs: 400 },
    ];
    const folder = newFolder(bytes);
    try {
      let killed = 0;
      for (const kill of kills) {
        const outcome = await killOnce(folder, steps, kill, oracle);
        expect(outcome.complaints, killText(kill)).toEqual([]);
        if (outcome.killed) killed++;
      }
      expect(killed).toBeGreaterThanOrEqual(9);
      expect(await finishRun(folder, steps, oracle)).toEqual([]);
    } finally {
      remove(folder);
    }
  });
});
