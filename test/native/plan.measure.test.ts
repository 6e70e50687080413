import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { native } from '../../src/native/load.ts';
import { measurementsFile } from '../../src/offload/measure/cache.ts';
import { type MeasureOptions, measureMachine } from '../../src/offload/measure/index.ts';

const home = mkdtempSync(path.join(tmpdir(), 'tierra-measure-'));
const before = process.env.XDG_CACHE_HOME;
beforeAll(() => {
  process.env.XDG_CACHE_HOME = home;
});
afterAll(() => {
  if (before === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = before;
  rmSync(home, { recursive: true, force: true });
});

const options = (changes: Partial<MeasureOptions> = {}): MeasureOptions => ({
  device: 'cpu',
  dtype: 'float32',
  threads: 2,
  updateThreads: 2,
  disk: null,
  again: true,
  // Whatever the machine has: this is about what is measured, not how well.
  cacheBytes: 2 ** 20,
  diskSeconds: 0.02,
  ...changes,
});

const disk = (folder: string) => ({ paths: [folder], backend: 'auto', direct: true, verify: true }) as const;

test.each(['float32', 'bfloat16', 'float64'] as const)('every rate is a positive number in %s', (dtype) => {
  const machine = measureMachine(options({ dtype }));
  const { toDevice, toHost, fromDisk, toDisk, capacityBytes, name, diskMeasured, ...rates } = machine;
  for (const [field, rate] of [rates, toDevice, toHost, fromDisk, toDisk].flatMap((part) => Object.entries(part))) {
    expect(rate, field).toBeGreaterThan(0);
    expect(Number.isFinite(rate), field).toBe(true);
  }
  expect(toDevice.together).toBeLessThanOrEqual(toDevice.alone);
  expect(toHost.together).toBeLessThanOrEqual(toHost.alone);
  expect(diskMeasured).toBe(false);
  expect(name).not.toBe('');
  expect(capacityBytes.host).toBeGreaterThan(2 ** 28);
});

test('updates of compressed states are measured by themselves, and what they move is said', () => {
  const exact = measureMachine(options({ dtype: 'bfloat16', again: false }));
  const compressed = measureMachine(options({ dtype: 'bfloat16', again: false, states: 'compressed' }));
  expect(compressed.hostUpdateParameters).not.toBe(exact.hostUpdateParameters);
  // Gradient in, weight out, states in and out.
  expect(compressed.hostUpdateBytes).toBe(2 + 2 + 2 * (6 + 2 / 64));
  expect(compressed.hostSumBytes).toBeGreaterThan(0);
  expect(measureMachine(options({ dtype: 'bfloat16', again: false, states: 'compressed' }))).toEqual(compressed);
});

test('nothing is left: no arena, tensor, thread, file or folder', () => {
  const folder = path.join(home, 'swap');
  const threads = () => readdirSync('/proc/self/task').length;
  measureMachine(options({ disk: disk(folder) }));
  const [arenas, tensors, tasks] = [native().liveArenas(), native().liveTensors(), threads()];
  expect([arenas, tensors]).toEqual([0, 0]);
  for (let round = 0; round < 3; round++) measureMachine(options({ disk: disk(folder) }));
  expect([native().liveArenas(), native().liveTensors()]).toEqual([0, 0]);
  expect(threads()).toBeLessThanOrEqual(tasks);
  expect(existsSync(folder)).toBe(false);
});

test('the disk is measured where it can be used, assumed where it cannot', () => {
  const folder = path.join(home, 'disk');
  const { diskMeasured, fromDisk, toDisk } = measureMachine(options({ disk: disk(folder) }));
  expect(diskMeasured).toBe(true);
  for (const { alone, together } of [fromDisk, toDisk]) {
    expect(together).toBeGreaterThan(0);
    expect(together).toBeLessThanOrEqual(alone);
  }
  const file = path.join(home, 'file');
  writeFileSync(file, '');
  expect(measureMachine(options({ disk: disk(file) })).diskMeasured).toBe(false);
});

test('rates are remembered in a file, by what they depend on, and a damaged file is measured again', () => {
  const first = measureMachine(options());
  expect(measureMachine(options({ again: false }))).toEqual(first);
  expect(existsSync(measurementsFile())).toBe(true);
  const other = measureMachine(options({ again: false, updateThreads: 1 }));
  expect(other).not.toEqual(first);
  writeFileSync(measurementsFile(), '{ broken');
  expect(measureMachine(options({ again: false, threads: 1 })).computeFlops).toBeGreaterThan(0);
});

test('another folder of the same disk is known, and what an earlier form of the file says is not', () => {
  const first = measureMachine(options({ disk: disk(path.join(home, 'one')) }));
  expect(measureMachine(options({ again: false, disk: disk(path.join(home, 'two', 'deeper')) }))).toEqual(first);
  expect(measureMachine(options({ again: false, disk: { ...disk(home), verify: false } })).fromDisk).not.toEqual(
    first.fromDisk,
  );
  // The same under keys that this process has not looked up yet.
  const asThreads = (threads: number, change: (rates: object) => object): void => {
    const all = Object.entries(JSON.parse(readFileSync(measurementsFile(), 'utf8')) as Record<string, object>);
    const others = all.map(([key, rates]) => [key.replace('| 2 | 2', `| ${threads} | 2`), change(rates)]);
    writeFileSync(measurementsFile(), JSON.stringify(Object.fromEntries(others)));
  };
  const recalled = (threads: number) => measureMachine(options({ again: false, threads, disk: disk(home) }));
  asThreads(3, (rates) => ('fromDisk' in rates ? { ...rates, fromDisk: { alone: 7, together: 5 } } : rates));
  expect(recalled(3).fromDisk).toEqual({ alone: 7, together: 5 });
  measureMachine(options({ disk: disk(home) }));
  asThreads(4, (rates) => ('fromDisk' in rates ? { readBytes: 7, writeBytes: 7 } : rates));
  expect(recalled(4).fromDisk.together).toBeGreaterThan(7);
});
