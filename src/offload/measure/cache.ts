/** Measurements are kept between runs, one file for all: `$XDG_CACHE_HOME/tierra/machines.json`. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';

const keptEntries = 32;

export function measurementsFile(): string {
  const base = process.env.XDG_CACHE_HOME;
  return path.join(
    base === undefined || base === '' ? path.join(homedir(), '.cache') : base,
    'tierra',
    'machines.json',
  );
}

/** What was measured under `key`, or null. A file that cannot be read counts as empty. */
export function recallMeasurement(key: string): unknown {
  return readAll()[key] ?? null;
}

/** Keeps `value` under `key`. A cache that cannot be written is no failure: it is measured again next time. */
export function rememberMeasurement(key: string, value: unknown): void {
  const file = measurementsFile();
  const others = Object.entries(readAll()).filter(([known]) => known !== key);
  const all = Object.fromEntries([...others.slice(1 - keptEntries), [key, value]]);
  try {
    mkdirSync(path.dirname(file), { recursive: true });
    const next = `${file}.${process.pid}`;
    writeFileSync(next, `${JSON.stringify(all, null, 1)}\n`);
    renameSync(next, file);
  } catch {
    // A read-only home is a fine home.
  }
}

function readAll(): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(readFileSync(measurementsFile(), 'utf8'));
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
