/** Folders that a killed process measured in are removed; those of living ones stay. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { measuringFolder, removedLeftovers, sweepMeasurements } from '../../../src/offload/leftovers.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'tierra-leftovers-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('removes what a process left that is gone, and says so', () => {
  const gone = spawnSync('true').pid;
  const left = path.join(folder, `.tierra-measure-${gone}-abc`);
  mkdirSync(left);
  const own = measuringFolder(folder);
  const other = path.join(folder, 'data');
  mkdirSync(other);
  sweepMeasurements(folder);
  expect([left, own, other].map((each) => existsSync(each))).toEqual([false, true, true]);
  expect(removedLeftovers()).toContain(left);
});

it('has nothing to say about a folder that is not there', () => {
  expect(() => sweepMeasurements(path.join(folder, 'none'))).not.toThrow();
});
