import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { KiB, MiB } from '../../../src/core/units.ts';
import { lastLevelCacheBytes } from '../../../src/offload/measure/workingSet.ts';

type Cache = readonly [level: number, type: string, size: string, shared: string];

/** The system's folder of these processors, each with its caches. */
function processors(all: readonly (readonly Cache[])[]): string {
  const root = mkdtempSync(path.join(tmpdir(), 'tierra-caches-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(path.join(root, 'cpufreq'));
  for (const [cpu, caches] of all.entries()) {
    mkdirSync(path.join(root, `cpu${cpu}`));
    for (const [index, [level, type, size, shared]] of caches.entries()) {
      const folder = path.join(root, `cpu${cpu}`, 'cache', `index${index}`);
      mkdirSync(folder, { recursive: true });
      const files = { level, type, size, shared_cpu_list: shared };
      for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), `${text}\n`);
    }
  }
  return root;
}

test('caches of the last level count once, however many processors share them', () => {
  const own = (cpu: number): Cache[] => [
    [1, 'Data', '32K', `${cpu}`],
    [1, 'Instruction', '32K', `${cpu}`],
    [2, 'Unified', '1024K', `${cpu}`],
  ];
  const last = (shared: string): Cache => [3, 'Unified', '107520K', shared];
  const sockets = [0, 1, 2, 3].map((cpu) => [...own(cpu), last(cpu < 2 ? '0-1' : '2-3')]);
  expect(lastLevelCacheBytes(processors(sockets))).toBe(2 * 105 * MiB);
  expect(lastLevelCacheBytes(processors([own(0), own(1), []]))).toBe(2 * MiB);
  expect(lastLevelCacheBytes(processors([[[1, 'Data', '48K', '0']]]))).toBe(48 * KiB);
});

test('where the system says nothing, nothing is known', () => {
  expect(lastLevelCacheBytes(processors([[], []]))).toBeNull();
  expect(lastLevelCacheBytes(processors([[[3, 'Unified', 'much', '0']]]))).toBeNull();
  expect(lastLevelCacheBytes('/there/is/no/such/folder')).toBeNull();
});
