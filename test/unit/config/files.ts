import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { loadConfig } from '../../../src/config/index.ts';
import { isTierraError } from '../../../src/core/errors.ts';

/** A folder that is the working directory while the tests of one file run, so that messages hold short paths. */
export function useWorkingFolder(): void {
  const before = process.cwd();
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'tierra-config-'));
    process.chdir(folder);
  });
  afterAll(() => {
    process.chdir(before);
    rmSync(folder, { recursive: true, force: true });
  });
}

export function write(name: string, text: string | Uint8Array): string {
  writeFileSync(name, text);
  return name;
}

/** Code and message of the error that an action ends in. */
export function failure(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (isTierraError(error)) return `${error.code} ${error.message}`;
    throw error;
  }
  throw new Error('it did not fail');
}

/** How loading this text fails. */
export const refuse = (text: string, overrides: readonly string[] = []): string =>
  failure(() => loadConfig(write('run.yaml', text), overrides));
