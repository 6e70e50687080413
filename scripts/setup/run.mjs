/** Small programs asked and answered: `which`, and a process run to its end with its output kept. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import path from 'node:path';

/** @typedef {import('./env.mjs').Env} Env */

/** The first executable called `name` on `env.PATH`. @param {Env} env @param {string} name */
export function which(env, name) {
  const candidates = name.includes('/') ? [name] : (env.PATH ?? '').split(':').map((dir) => path.join(dir, name));
  return candidates.find((file) => path.isAbsolute(file) && isExecutable(file));
}

/** @param {string} file */
function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/**
 * Runs a program without a shell or standard input. Never throws: a program that cannot start has `ok` false.
 * @param {string} file @param {readonly string[]} args
 * @param {{ env?: Env, cwd?: string, timeoutMs?: number }} [options]
 * @returns {{ ok: boolean, stdout: string, stderr: string }}
 */
export function ask(file, args, { env = process.env, cwd = process.cwd(), timeoutMs = 20_000 } = {}) {
  const result = spawnSync(file, args, {
    env: /** @type {NodeJS.ProcessEnv} */ (env),
    cwd,
    timeout: timeoutMs,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 64 * 1024 * 1024,
  });
  return { ok: result.status === 0, stdout: result.stdout ?? '', stderr: result.stderr ?? String(result.error ?? '') };
}

/** Version numbers compared part by part: negative, zero or positive. @param {string} a @param {string} b */
export function compareVersions(a, b) {
  const [x, y] = [a, b].map((text) => text.split('.').map((part) => Number.parseInt(part, 10) || 0));
  for (let i = 0; i < Math.max(x?.length ?? 0, y?.length ?? 0); i++) {
    const difference = (x?.[i] ?? 0) - (y?.[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
