/** Checkpoints of some ranks loaded by others: the same state, then the same training. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { runRanks } from './ranks.ts';
import { type Leg, type LegResult, run } from './scripts/zeroResume.ts';

function scratch(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-zero-resume-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const together = (size: number, leg: Leg): Promise<LegResult[]> =>
  runRanks<LegResult>(size, 'scripts/zeroResume.ts', { input: leg });

/** What all ranks hold. */
const whole = (ranks: readonly LegResult[], when: 'loaded' | 'ended'): Record<string, string> =>
  Object.assign({}, ...ranks.map((rank) => rank[when]));

describe.skipIf(!nativeIsBuilt())('checkpoints of ranks', () => {
  it('of 4 are loaded by 2, by 3 and by one, bit for bit, and training goes on', async () => {
    const folder = scratch();
    const four = await together(4, { folder, parallel: { zero: 3 }, from: 0, steps: 3 });
    const memory = { gpu: '1GiB', cpu: '1GiB' };
    const two = await together(2, { folder, parallel: { zero: 2 }, memory, from: 3, steps: 2 });
    expect(whole(two, 'loaded')).toEqual(whole(four, 'ended'));
    const three = await together(3, { folder, parallel: { zero: 1 }, from: 5, steps: 2 });
    expect(whole(three, 'loaded')).toEqual(whole(two, 'ended'));
    const one = await run(null, { folder, parallel: {}, from: 7, steps: 1 });
    expect(one.loaded).toEqual(whole(three, 'ended'));
    const copies = await together(2, { folder, parallel: { zero: 0 }, from: 8, steps: 1 });
    for (const copy of copies) expect(copy.loaded).toEqual(one.ended);

    const reference = await run(null, { folder: scratch(), parallel: {}, from: 0, steps: 9 });
    const losses = [...four[0]!.losses, ...two[0]!.losses, ...three[0]!.losses, ...one.losses, ...copies[0]!.losses];
    expect(losses).toHaveLength(9);
    for (const [step, loss] of losses.entries()) expect(Math.abs(loss - reference.losses[step]!)).toBeLessThan(1e-10);
    const written = readdirSync(path.join(folder, 'checkpoints', 'step-00000003', 'model'));
    expect(written.filter((name) => name.endsWith('.safetensors'))).toHaveLength(4);
  });

  it('with compressed states: of 2 are loaded by one', async () => {
    const folder = scratch();
    const two = await together(2, { folder, parallel: { zero: 3 }, compressed: true, from: 0, steps: 3 });
    const one = await run(null, { folder, parallel: {}, compressed: true, from: 3, steps: 1 });
    expect(Object.keys(one.loaded).filter((name) => name.includes('moment2Scales')).length).toBeGreaterThan(5);
    expect(one.loaded).toEqual(whole(two, 'ended'));
  });
});
