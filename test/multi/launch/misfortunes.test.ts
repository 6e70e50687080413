/** Ranks in the middle of collectives lose one of their number: the right one is named, the job ends, or starts again. */
import { describe, expect, it } from 'vitest';
import { native, nativeIsBuilt } from '../../../src/native/load.ts';
import { compiled } from '../../compiled.ts';
import { linesOf, tierra } from './support.ts';

const file = compiled('test/multi/launch/collecting.ts');
const gloo = nativeIsBuilt() && native().buildInfo.gloo;
if (!gloo) console.log('skipped: the addon has no Gloo');

describe.skipIf(!gloo)('ranks in collectives', () => {
  it.each([
    ['1', '12'],
    ['0', '17'],
  ])('rank %s is killed at step %s', async (victim, step) => {
    const { code, out, err } = await tierra(['run', '-n', '3', file, 'kill', victim, step]).ended;
    expect(code).toBe(137);
    expect(err).toContain(`rank ${victim} ended with SIGKILL`);
    // Killed between two beats: the others know the step to within a second's work.
    const named = new RegExp(`rank ${victim} \\(process \\d+ on \\S+\\) died, (step \\d+|before the first step)`);
    const others = ['0', '1', '2'].filter((rank) => rank !== victim);
    for (const rank of others) {
      const text = `${err}\n${(linesOf(out)[rank] ?? []).join('\n')}`;
      expect(text).toMatch(named);
      expect(err).toMatch(new RegExp(`\\[${rank}\\] tierra: rank ${rank} ends because rank ${victim} `));
    }
  });

  it('a rank that fails tells the others why', async () => {
    const { code, err } = await tierra(['run', '-n', '2', file, 'throw', '1', '5']).ended;
    expect(code).toBe(1);
    expect(err).toMatch(
      /rank 0 ends because rank 1 \(process \d+ on \S+\) failed with exit code 1, step 5: Error: a mistake of its own/,
    );
  });

  it('start again', async () => {
    const { code, out } = await tierra(['run', '-n', '2', '--restarts', '1', file, 'kill', '1', '4']).ended;
    expect(code).toBe(0);
    expect(linesOf(out)).toMatchObject({ 0: expect.arrayContaining(['finished']), 1: ['finished'] });
  });

  it('that disagree do not begin', async () => {
    const { code, out } = await tierra(['run', '-n', '2', file, 'disagree', '1', '0']).ended;
    expect(code).toBe(1);
    const message = 'E_PEER rank 1 does not agree with rank 0: config.seed is 2, on rank 0 it is 1';
    expect(Object.values(linesOf(out)).flat()).toContain(message);
  });
});
