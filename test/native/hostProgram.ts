/** Programs of this folder (`*Host.cc`) that are compiled together with parts of the addon, and run outside of Node. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');
const compiler = process.env.CXX ?? 'g++';

export const compilerIsHere = spawnSync(compiler, ['--version']).status === 0;
if (!compilerIsHere) console.log(`skipped: no ${compiler} here to compile programs for the host with`);

/** Compiles `program` with `parts` of native/src and runs it in an empty folder; what it prints. */
export function runHostProgram(program: string, parts: readonly string[]): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-host-'));
  try {
    const built = path.join(folder, program);
    const sources = [`test/native/${program}.cc`, ...parts.map((name) => `native/src/${name}.cc`)];
    const flags = ['-std=c++20', '-O1', '-ffp-contract=off', '-Inative/src', '-Inative/kernels', '-pthread'];
    const compiled = spawnSync(compiler, [...flags, ...sources, '-o', built], { cwd: root, encoding: 'utf8' });
    expect(compiled.stderr.split('\n').filter((line) => line.includes('error'))).toEqual([]);
    expect(compiled.status).toBe(0);
    return spawnSync(built, { encoding: 'utf8', env: { XDG_CACHE_HOME: folder } }).stdout;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
