/** What killed runs have left in swap folders and this process has removed: whoever finds it removes it, whoever trains says so. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { isAlive } from '../core/processes.ts';

const removed = new Set<string>();

export function noteLeftovers(files: readonly string[]): void {
  for (const file of files) removed.add(file);
}

export const removedLeftovers = (): readonly string[] => [...removed];

const prefix = '.tierra-measure-';

/** A folder to measure the disk of `folder` in, in the name of this process. */
export const measuringFolder = (folder: string): string => mkdtempSync(path.join(folder, `${prefix}${process.pid}-`));

/** Removes folders of processes that were killed while they measured. */
export function sweepMeasurements(folder: string): void {
  for (const name of namesIn(folder)) {
    if (!name.startsWith(prefix) || isAlive(Number.parseInt(name.slice(prefix.length), 10))) continue;
    const left = path.join(folder, name);
    rmSync(left, { recursive: true, force: true });
    noteLeftovers([left]);
  }
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
