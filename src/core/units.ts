import { TierraError } from './errors.ts';

/** Byte counts are plain numbers, exact up to 2^53. */
export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;

const factors: Readonly<Record<string, number>> = {
  b: 1,
  kib: KiB,
  mib: MiB,
  gib: GiB,
  tib: TiB,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
};

/** Parses `"8GiB"`, `"1.5 TB"` or a plain number of bytes. Throws `E_CONFIG` for anything else. */
export function parseBytes(text: string | number, where = 'size'): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?b)?\s*$/i.exec(String(text));
  const bytes =
    match === null
      ? Number.NaN
      : Math.floor(Number(match[1]) * (factors[(match[2] ?? 'b').toLowerCase()] ?? Number.NaN));
  if (!Number.isSafeInteger(bytes)) {
    throw new TierraError('E_CONFIG', `${where}: expected a size such as 8GiB or 500MB, got ${JSON.stringify(text)}`, {
      hint: 'Binary units are KiB, MiB, GiB, TiB; decimal ones KB, MB, GB, TB.',
    });
  }
  return bytes;
}

/** `8.0 GiB`, `512 MiB`, `12 B`: three significant figures at most, binary units. */
export function formatBytes(bytes: number): string {
  const steps: readonly (readonly [number, string])[] = [
    [TiB, 'TiB'],
    [GiB, 'GiB'],
    [MiB, 'MiB'],
    [KiB, 'KiB'],
  ];
  for (const [size, name] of steps) {
    if (Math.abs(bytes) >= size) {
      const value = bytes / size;
      return `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${name}`;
    }
  }
  return `${bytes} B`;
}

/** `1.1B`, `350M`, `12K`: counts such as parameters and tokens. */
export function formatCount(count: number): string {
  for (const [size, name] of [
    [1e12, 'T'],
    [1e9, 'B'],
    [1e6, 'M'],
    [1e3, 'K'],
  ] as const) {
    if (Math.abs(count) >= size) {
      const value = count / size;
      return `${value >= 100 ? value.toFixed(0) : value.toFixed(1)}${name}`;
    }
  }
  return String(count);
}

/** `2h 05m`, `3m 12s`, `1.24 s`, `85 ms`. */
export function formatSeconds(seconds: number): string {
  if (seconds >= 3600)
    return `${Math.floor(seconds / 3600)}h ${String(Math.floor((seconds % 3600) / 60)).padStart(2, '0')}m`;
  if (seconds >= 60) return `${Math.floor(seconds / 60)}m ${String(Math.floor(seconds % 60)).padStart(2, '0')}s`;
  return seconds >= 1 ? `${seconds.toFixed(2)} s` : `${(seconds * 1e3).toFixed(0)} ms`;
}

export function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
