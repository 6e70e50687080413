/** liburing's headers, which decide whether disk transfers use io_uring or a pool of threads. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { aptInstall, installCommand } from './apt.mjs';
import { ask, which } from './run.mjs';

/** @typedef {import('./env.mjs').Env} Env */

/** The folder that holds `liburing.h`, if any. @param {Env} env @param {readonly string[]} [folders] */
export function findUring(env, folders = ['/usr/include', '/usr/local/include']) {
  const found = folders.find((folder) => existsSync(path.join(folder, 'liburing.h')));
  if (found !== undefined) return found;
  const pkgConfig = which(env, 'pkg-config');
  if (pkgConfig === undefined) return undefined;
  const answer = ask(pkgConfig, ['--variable=includedir', 'liburing'], { env });
  const folder = answer.stdout.trim();
  return answer.ok && existsSync(path.join(folder, 'liburing.h')) ? folder : undefined;
}

/** One line of advice where it cannot be installed for the user. */
export const uringAdvice = () => `for faster disk transfers: ${installCommand(['liburing-dev'])}, then run setup again`;

/**
 * Finds the headers, installing them where that needs no question; without them the build is complete but for io_uring.
 * @param {Env} env @param {{ say: (line: string) => void, log: (text: string) => void }} output
 */
export function provideUring(env, output) {
  const there = findUring(env);
  if (there !== undefined) return there;
  if (aptInstall(['liburing-dev'], env, output.log)) return findUring(env);
  output.say(`liburing's headers are missing: building without io_uring (${uringAdvice()})`);
  return undefined;
}
