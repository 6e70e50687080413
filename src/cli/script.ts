import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { TierraError } from '../core/errors.ts';
import { packageRoot } from '../core/package.ts';

/** Runs a script of the package in a process of its own, on this terminal. Resolves to its exit code. */
export function runScript(name: string, args: readonly string[]): Promise<number> {
  const script = join(packageRoot(), 'scripts', name);
  if (!existsSync(script)) {
    throw new TierraError('E_UNSUPPORTED', `this installation has no ${script}`, {
      hint: 'Install the package again.',
    });
  }
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, ...args], { stdio: 'inherit' });
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}
