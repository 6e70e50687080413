import { spawnSync } from 'node:child_process';
import { afterEach, describe, expect, test } from 'vitest';
import { isTierraError } from '../../../src/core/errors.ts';
import { armFaults, faultPoint } from '../../../src/core/faults.ts';
import { findNewest } from '../../../src/engine/checkpoint/index.ts';
import { compiled } from '../../compiled.ts';
import { expectWholly, names, save, scratchOutput } from './sample.ts';

afterEach(() => armFaults(undefined));

describe('the k-th operation fails, k = 1, 2, ... until the save passes untouched', () => {
  const passages = ['file.write', 'file.fsync', 'file.read'].flatMap((site) =>
    ['EIO', 'ENOSPC'].map((kind) => [site, kind] as const),
  );
  test.each(passages)('%s: %s', { timeout: 60_000 }, async (site, kind) => {
    const output = scratchOutput();
    await save(output, 10);
    let k = 0;
    for (let failed = true; failed; ) {
      k += 1;
      armFaults(`${site}:${kind}@k=${k}`);
      const error = await save(output, 20).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      armFaults(undefined);
      failed = error !== undefined;
      if (error !== undefined) {
        expect(isTierraError(error, 'E_IO'), `${k}: ${error}`).toBe(true);
        expect((error as Error).message).toContain(`${kind}: injected at ${site}, passage ${k}`);
      }
      const { found, passedOver } = await findNewest(output);
      expect(passedOver).toEqual([]);
      expectWholly(found!.path, found!.step);
      // Only the flush of the parent folder, after the rename, can fail and leave the new checkpoint in place.
      const renamed = names(output).includes('step-00000020');
      expect(names(output)).toEqual(renamed ? ['step-00000010', 'step-00000020'] : ['step-00000010']);
      if (failed && renamed) {
        expect(site).toBe('file.fsync');
        break;
      }
    }
    expect(k).toBeGreaterThan(site === 'file.read' ? 1 : 10);
  });
});

test('a real short write, then a refusal (ulimit -f): the old checkpoint stays, nothing else does', {
  timeout: 60_000,
}, async () => {
  const output = scratchOutput();
  await save(output, 10);
  const saver = compiled('test/unit/checkpoint/saver.ts');
  const command = 'ulimit -f 1; exec "$0" "$1" "$2" 20 1';
  const child = spawnSync('bash', ['-c', command, process.execPath, saver, output], {
    encoding: 'utf8',
  });
  expect(child.status).toBe(1);
  expect(child.stderr).toMatch(/the checkpoint of step 20 was not written: .*cannot write \d+ bytes at 1024: EFBIG/);
  expect(names(output)).toEqual(['step-00000010']);
  expectWholly((await findNewest(output)).found!.path, 10);
});

describe('the syntax of TIERRA_FAULT', () => {
  test.each([
    ['nonsense', 'cannot read "nonsense"'],
    ['k=3', 'cannot read "k=3"'],
    ['file.write:EIO@k=x', 'cannot read "k=x"'],
  ])('%s', (text, reason) => {
    expect(() => armFaults(text)).toThrow(`TIERRA_FAULT=${text}: ${reason}`);
  });

  test('several faults, each with its own count; another rank is left alone', () => {
    armFaults('a:throw@k=2,b:EIO,c:throw@rank=1');
    faultPoint('a');
    faultPoint('c');
    expect(() => faultPoint('a')).toThrow('fault injected at a, passage 2');
    expect(() => faultPoint('b')).toThrow(expect.objectContaining({ code: 'EIO' }));
    faultPoint('a');
    faultPoint('b');
  });

  test('a kind that a site cannot do is refused when it is met', () => {
    armFaults('a:short');
    expect(() => faultPoint('a')).toThrow('this site cannot do "short"; it knows kill, EIO, ENOSPC and throw');
  });
});
