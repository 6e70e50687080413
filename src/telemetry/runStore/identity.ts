/** Which run a process continues, or the name of a new one. */
import path from 'node:path';
import type { Database } from './driver.ts';

export interface RunRow {
  readonly number: number;
  readonly id: string;
}

/** A folder as the store names it: relative to the store, so that both can be moved together. */
export const outputKey = (store: string, output: string): string =>
  path.relative(path.dirname(path.resolve(store)), path.resolve(output)) || '.';

/** The newest run that saves into this folder. */
export function runOf(database: Database, output: string): RunRow | undefined {
  return database
    .prepare<[string], RunRow>('SELECT number, id FROM runs WHERE output = ? ORDER BY number DESC LIMIT 1')
    .get(output);
}

/** The run in whose folder a checkpoint lies. */
export function runHolding(database: Database, checkpoint: string): RunRow | undefined {
  for (let folder = checkpoint; folder !== path.dirname(folder); folder = path.dirname(folder)) {
    const run = runOf(database, folder);
    if (run !== undefined) return run;
  }
  return undefined;
}

/** `name-1`, `name-2`, …: the first number behind all runs of this name that is free. Call within a transaction. */
export function newRunId(database: Database, name: string): string {
  const { count } = database
    .prepare<[string], { count: number }>('SELECT count(*) AS count FROM runs WHERE name = ?')
    .get(name)!;
  const taken = database.prepare<[string]>('SELECT 1 FROM runs WHERE id = ?');
  let number = count + 1;
  while (taken.get(`${name}-${number}`) !== undefined) number++;
  return `${name}-${number}`;
}
