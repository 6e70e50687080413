/**
 * Training through every fault: the k-th operation fails, for k = 1, 3, 9, ... until none does. Each run ends in the bits
 * of the undisturbed one or in a clean error, and leaves nothing behind. `npm run soak` takes every k and every kind.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FaultOutcome, fewFaults, type Oracle, oracle, runWithFault } from './tiersFaultRuns.ts';

/** A run passes each site some hundred times. */
const most = 3 ** 7;

describe('the k-th operation fails', () => {
  let expected: Oracle;
  let folder: string;
  beforeAll(() => {
    expected = oracle();
    folder = mkdtempSync(path.join(tmpdir(), 'tierra-faults-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(fewFaults)('$site: $kind', async (fault) => {
    const outcomes: FaultOutcome[] = [];
    for (let k = 1; k < most; k *= 3) {
      const outcome = await runWithFault(fault, k, expected, folder);
      expect(outcome.complaints, `k = ${k}`).toEqual([]);
      outcomes.push(outcome);
      if (!outcome.hit) break;
    }
    expect(outcomes.length).toBeGreaterThan(1);
    expect(outcomes.at(-1)).toMatchObject({ hit: false, completed: true, errors: [] });
  });
});
