import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import type { StepRow } from '../../../src/telemetry/index.ts';
import { type Database, sqlite } from '../../../src/telemetry/runStore/driver.ts';
import { openStore } from '../../../src/telemetry/runStore/openStore.ts';
import { StoreRecord, type StoreRecordOptions } from '../../../src/telemetry/runStore/storeRecord.ts';

/** True where npm could neither fetch nor build better-sqlite3: then these tests can only skip. */
export const withoutSqlite = ((): boolean => {
  try {
    sqlite();
    return false;
  } catch (error) {
    if (process.env.TIERRA_NATIVE === 'require') throw error;
    console.warn(`skipped: ${(error as Error).message}`);
    return true;
  }
})();

export function scratch(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-runs-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A step whose numbers all follow from its own. */
export const row = (step: number, change: Partial<StepRow> = {}): StepRow => ({
  step,
  loss: 5 - step / 1000,
  gradientNorm: 0.5 + (step % 7) / 8,
  clipFactor: 1,
  learningRate: 3e-4,
  lossScale: null,
  tokens: 128,
  seconds: 0.25,
  ...change,
});

export function recordIn(file: string, change: Partial<StoreRecordOptions> = {}): StoreRecord {
  const record = new StoreRecord({
    file,
    name: 'small',
    output: path.join(path.dirname(file), 'small'),
    config: { seed: 1 },
    git: null,
    machine: { cpu: 'a processor' },
    host: 'here',
    onTrouble: (text) => {
      throw new Error(`unexpected: ${text}`);
    },
    ...change,
  });
  onTestFinished(() => record.dispose());
  return record;
}

export const begin = (record: StoreRecord, completedSteps = 0, resumedFrom: string | null = null): void =>
  record.begin({
    name: 'small',
    totalSteps: 10_000,
    completedSteps,
    resumedFrom,
    parameters: 1000,
    device: 'cpu',
    precision: 'fp32',
  });

export function reader(file: string): Database {
  const database = openStore(file, { mustExist: true, busyMs: 5000 });
  onTestFinished(() => {
    database.close();
  });
  return database;
}
