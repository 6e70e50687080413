import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkpointsFolder, findNewest, removeLeftovers } from '../../../src/engine/checkpoint/index.ts';
import { compiled } from '../../compiled.ts';
import { expectWholly, names, save, scratchOutput } from './sample.ts';

const saver = compiled('test/unit/checkpoint/saver.ts');

/** Saves step 20 in a process of its own that kills itself at the fault point. */
function saveAndDie(output: string, fault: string): void {
  const child = spawnSync(process.execPath, [saver, output, '20', '1'], {
    env: { ...process.env, TIERRA_FAULT: fault },
    encoding: 'utf8',
  });
  expect({ signal: child.signal, stderr: child.stderr }).toEqual({ signal: 'SIGKILL', stderr: '' });
}

describe('killed while saving, either the old or the new checkpoint is found, whole', () => {
  test.each([
    ['checkpoint.K1', 'before the first byte', 10],
    ['checkpoint.K2@k=2', 'in the first shard', 10],
    ['checkpoint.K2@k=9', 'in the optimizer', 10],
    ['checkpoint.K3', 'after the shards', 10],
    ['checkpoint.K4', 'after the vote', 10],
    ['checkpoint.K5', 'in the manifest', 10],
    ['checkpoint.K6', 'before the rename', 10],
    ['checkpoint.K7', 'after the rename', 20],
    ['checkpoint.K8', 'while pruning', 20],
  ])('%s, %s: step %i', { timeout: 60_000 }, async (site, _, survivor) => {
    const output = scratchOutput();
    await save(output, 10);
    saveAndDie(output, site.replace(/(@|$)/, ':kill$1'));

    const { found, passedOver } = await findNewest(output);
    expect(found?.step).toBe(survivor);
    expect(passedOver).toEqual([]);
    expectWholly(found!.path, survivor);

    const debris = names(output).filter((name) => !/^step-\d{8}$/.test(name));
    const removed = removeLeftovers(output);
    expect(removed.map(({ path, removed }) => ({ path, removed }))).toEqual(
      debris.map((name) => ({ path: join(checkpointsFolder(output), name), removed: true })),
    );
    for (const { reason } of removed) expect(reason).toMatch(/^run .+-\d+-\d+ is dead$/);
    expect(debris).toHaveLength(site === 'checkpoint.K1' || site === 'checkpoint.K7' ? 0 : 1);
    expectWholly((await findNewest(output)).found!.path, survivor);

    expectWholly(await save(output, 30, { keepLast: 1 }), 30);
    expect(names(output)).toEqual(['step-00000030']);
  });
});

test('killed while resuming, nothing was changed', { timeout: 60_000 }, async () => {
  const output = scratchOutput();
  await save(output, 10);
  const script = `
    import { findNewest } from ${JSON.stringify(compiled('src/engine/checkpoint/index.ts'))};
    await findNewest(${JSON.stringify(output)});`;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, TIERRA_FAULT: 'checkpoint.verify:kill@k=3' },
    encoding: 'utf8',
  });
  expect({ signal: child.signal, stderr: child.stderr }).toEqual({ signal: 'SIGKILL', stderr: '' });
  const { found } = await findNewest(output);
  expect(found?.warnings).toEqual([]);
  expectWholly(found!.path, 10);
  expect(names(output)).toEqual(['step-00000010']);
});
