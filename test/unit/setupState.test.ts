import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { findUring } from '../../scripts/setup/findUring.mjs';
import { inputsFor } from '../../scripts/setup/flow.mjs';
import { identity, takeLock } from '../../scripts/setup/lock.mjs';
import { placesIn } from '../../scripts/setup/paths.mjs';
import { readTorch } from '../../scripts/setup/readTorch.mjs';
import { whyBuild, writeRecord } from '../../scripts/setup/stamp.mjs';
import { packageCopy, put, runSetup, temporaryFolder, torchWheel } from './setupTrees.ts';

/** A package whose addon was built from what lies there. */
function builtPackage() {
  const root = packageCopy();
  const places = placesIn(root);
  const libtorch = torchWheel(path.join(path.dirname(root), 'torch'), '2.13.0+cpu');
  const read = readTorch(libtorch, 'test');
  if (!('torch' in read)) throw new Error(read.problem);
  const inputs = () => inputsFor(places, read.torch, {}, findUring({}) !== undefined);
  put(places.addon, 'addon');
  writeRecord(places, {
    ...inputs(),
    compiler: 'gcc 12',
    cmake: '3.25',
    node: process.version,
    addonBytes: statSync(places.addon).size,
  });
  return { root, places, libtorch, inputs };
}

test('nothing changed: one line, no compiler needed', () => {
  const { root, libtorch } = builtPackage();
  expect(runSetup(root, ['--auto'], { TIERRA_LIBTORCH: libtorch })).toEqual({
    status: 0,
    output: 'tierra: the addon is up to date\n',
  });
});

test('any changed input is a reason to build', () => {
  const { root, places, inputs } = builtPackage();
  expect(whyBuild(places, inputs())).toBeUndefined();
  expect(whyBuild(places, { ...inputs(), torchVersion: '2.14.0+cpu' })).toBe('libtorch has another version');
  expect(whyBuild(places, { ...inputs(), uring: !inputs().uring })).toBe('liburing came or went');
  put(path.join(root, 'native/src/new.cc'), 'int x;');
  expect(whyBuild(places, inputs())).toBe("the addon's sources changed");
  put(places.addon, 'a torn copy');
  expect(whyBuild(places, inputs())).toBe('the addon has no valid build record');
  put(places.buildInfo, '{"sourceHash":');
  expect(whyBuild(places, inputs())).toBe('the addon has no valid build record');
});

test('a lock of a dead process, or of one with a reused number, is taken over; a living one is waited for', async () => {
  const file = path.join(temporaryFolder(), 'build/setup.lock');
  const said: string[] = [];
  const gone = spawnSync(process.execPath, ['-e', '']).pid;
  for (const stale of [`${gone} 12345`, `${process.pid} 1`, 'nonsense', '']) {
    put(file, stale);
    const release = await takeLock(file, (line) => said.push(line), { waitMs: 5_000 });
    expect(readFileSync(file, 'utf8')).toBe(identity(process.pid));
    release();
    expect(existsSync(file)).toBe(false);
  }
  expect(said).toEqual([]);

  const owner = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  await once(owner, 'spawn');
  put(file, identity(owner.pid!)!);
  const attempt = takeLock(file, (line) => said.push(line), { waitMs: 300 });
  await expect(attempt).rejects.toThrow(`another setup (process ${owner.pid}) holds ${file}`);
  expect(said).toEqual([`waiting for another setup (process ${owner.pid}) to end`]);
  owner.kill('SIGKILL');
  await once(owner, 'exit');
  (await takeLock(file, () => {}, { waitMs: 5_000 }))();
  expect(readdirSync(path.dirname(file))).toEqual([]);
});
