/** How much memory a measurement goes through, so that it is the memory that answers and not the caches. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { hostMemory } from '../../core/hostMemory.ts';
import { GiB, KiB, MiB } from '../../core/units.ts';
import { Bench, leastOf, secondsFor } from './bench.ts';

/** Of that much a cache holds a quarter: what the last round left in it is gone when the next one comes there. */
const timesTheCaches = 4;
/** Virtual machines may show less than they have, or nothing. */
const leastCacheBytes = 64 * MiB;
const leastBytes = 64 * MiB;
/** Ranks of one node may all measure at once. */
const shareOfMemory = 1 / 16;
/** For touching it the first time; on two slow cores all measurements in it take three times as long together. */
const patienceSeconds = 0.5;

/** Bytes to work on beside last-level caches of `cacheBytes` in all; null: those of this machine. */
export function workingBytes(cacheBytes: number | null): number {
  const caches = cacheBytes ?? Math.max(leastCacheBytes, lastLevelCacheBytes() ?? 0);
  const wanted = Math.min(timesTheCaches * caches, shareOfMemory * hostMemory().availableBytes);
  return wanted <= leastBytes ? leastBytes : Math.max(leastBytes, Math.min(wanted, patienceSeconds * fillRate()));
}

/** Bytes per second in which new memory can be filled. */
function fillRate(): number {
  const bytes = leastBytes / 2;
  const seconds = leastOf(3, () => {
    const bench = new Bench(-1, 1);
    try {
      return secondsFor(() => void bench.arena('host', bytes, -1));
    } finally {
      bench.dispose();
    }
  });
  return bytes / seconds;
}

/** All caches of the last level together, in bytes; null where the system does not say. `folder` is for tests. */
export function lastLevelCacheBytes(folder = '/sys/devices/system/cpu'): number | null {
  const found = new Map<string, { readonly level: number; readonly bytes: number }>();
  for (const cpu of namesIn(folder, /^cpu\d+$/)) {
    for (const index of namesIn(path.join(folder, cpu, 'cache'), /^index\d+$/)) {
      const field = (name: string): string => textOf(path.join(folder, cpu, 'cache', index, name));
      const [level, bytes] = [Number(field('level')), bytesIn(field('size'))];
      // One cache is listed by every processor that shares it.
      if (level > 0 && bytes > 0 && field('type') !== 'Instruction')
        found.set(`${level} ${field('shared_cpu_list') || cpu}`, { level, bytes });
    }
  }
  const last = Math.max(0, ...Array.from(found.values(), ({ level }) => level));
  const caches = [...found.values()].filter(({ level }) => level === last);
  return caches.length === 0 ? null : caches.reduce((sum, { bytes }) => sum + bytes, 0);
}

const units: Readonly<Record<string, number>> = { '': 1, K: KiB, M: MiB, G: GiB };

function bytesIn(size: string): number {
  const [, count = '', unit = ''] = /^(\d+)([KMG]?)$/.exec(size) ?? [];
  return Number(count) * units[unit]!;
}

function namesIn(folder: string, pattern: RegExp): string[] {
  try {
    return readdirSync(folder).filter((name) => pattern.test(name));
  } catch {
    return [];
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}
