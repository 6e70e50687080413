/** Ranks that would train different things find out before they begin. */
import { describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../../src/native/load.ts';
import { compiled } from '../../compiled.ts';
import { linesOf, tierra } from './support.ts';

const script = compiled('test/multi/launch/differing.ts');

describe.skipIf(!nativeIsBuilt())('settings of ranks', () => {
  it('may differ in where each keeps its part', async () => {
    const { code, out } = await tierra(['run', '-n', '2', script, '8', '8']).ended;
    expect(code).toBe(0);
    expect(linesOf(out)).toEqual({ '0': ['dp 2'], '1': ['dp 2'] });
  });

  it('that differ in what is trained are named, with both values', async () => {
    const { code, err } = await tierra(['run', '-n', '2', script, '8', '4']).ended;
    expect(code).toBe(1);
    expect(err).toContain('rank 1 does not agree with rank 0: config.train.batchSize is 4, on rank 0 it is 8');
  });
});
