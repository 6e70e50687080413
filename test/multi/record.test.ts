/** `tierra train` and its record: what was printed, stored, and read back by other processes. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { withoutSqlite } from '../unit/runStore/support.ts';
import { lossesIn, project, run, runHere } from './trainProcess.ts';

describe.skipIf(withoutSqlite)('the record of a run', { timeout: 600_000 }, () => {
  it('holds every step of a run that was continued, and the files that were asked for', async () => {
    const folder = project();
    const options = ['--set', 'record.tensorboard=true', '--set', 'record.prometheus=metrics/run.prom'];
    const first = await runHere(folder, ['train', 'run.yaml', '--set', 'train.steps=6', ...options]);
    expect(first).toMatchObject({ code: 0, stderr: '' });
    const second = await run(folder, ['train', 'run.yaml', ...options]);
    expect(second).toMatchObject({ code: 0, stderr: '' });

    const { stdout: json } = await runHere(folder, ['runs', 'export', 'latest', '--json']);
    const record = JSON.parse(json);
    expect(record).toMatchObject({
      id: 'small-1',
      sessions: [
        { cause: 'start', fromStep: 0, lastStep: 6, outcome: 'completed' },
        { cause: 'resume', fromStep: 6, lastStep: 12, outcome: 'completed' },
      ],
    });
    const losses = record.steps.map(({ step, loss }: { step: number; loss: number }) => [
      String(step),
      loss.toFixed(4),
    ]);
    expect(Object.fromEntries(losses)).toEqual({ ...lossesIn(first.stdout), ...lossesIn(second.stdout) });
    expect(record.steps).toHaveLength(12);
    for (const { seconds, tokens, lossScale } of record.steps) {
      expect(seconds).toBeGreaterThan(0);
      expect(tokens).toBe(128);
      expect(lossScale).toBeNull();
    }
    expect(record.checkpoints.at(-1)).toMatchObject({
      step: 12,
      path: 'out/checkpoints/step-00000012',
      bytes: expect.any(Number),
      seconds: expect.any(Number),
      blockedSeconds: expect.any(Number),
    });
    expect(record.evaluations.map(({ step }: { step: number }) => step)).toEqual([0, 4, 6, 8, 12]);

    expect(readdirSync(path.join(folder, 'out', 'tensorboard'))).toHaveLength(2);
    expect(readFileSync(path.join(folder, 'metrics', 'run.prom'), 'utf8')).toMatch(/^tierra_step\{run="small"\} 12$/m);
    const show = await runHere(folder, ['runs', 'show', 'small']);
    expect(show.stdout).toContain('resumed at step 6; completed at step 12');
  });

  it('keeps the reason of a failure, nothing when told so, and lets the run go on without a store', async () => {
    const folder = project();
    const nothing = await runHere(folder, ['train', 'run.yaml', '--set', 'record=null', '--set', 'train.steps=1']);
    expect(nothing).toMatchObject({ code: 0, stderr: '' });
    expect(existsSync(path.join(folder, 'runs'))).toBe(false);

    writeFileSync(path.join(folder, 'runs'), 'in the way');
    const unrecorded = await runHere(folder, ['train', 'run.yaml', '--set', 'train.steps=2']);
    expect(unrecorded).toMatchObject({ code: 0, stderr: '' });
    expect(unrecorded.stdout.match(/this run is not recorded/g)).toHaveLength(1);

    // One save, at the end: a save during training may fail, and training goes on.
    const store = ['record.store=store.db', 'train.resume=never', 'train.saveEvery=100'].flatMap((set) => [
      '--set',
      set,
    ]);
    const failed = await run(folder, ['train', 'run.yaml', ...store], { TIERRA_FAULT: 'file.write:ENOSPC@k=3' });
    expect(failed.code).toBe(1);
    const show = await runHere(folder, ['runs', 'show', 'latest', '--store', 'store.db']);
    expect(show.stdout).toMatch(/^small-1 {2}failed {2}step \d+\/12/);
    expect(show.stdout).toMatch(/^reason +.*ENOSPC/m);
  });
});
