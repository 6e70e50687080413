/** pip, used in one place: which one, how patient, and what its failure was. */
import { rmSync } from 'node:fs';
import path from 'node:path';
import { aptInstall, installCommand } from './apt.mjs';
import { ask, which } from './run.mjs';
import { SetupStop } from './stop.mjs';

/** @typedef {import('./env.mjs').Env} Env */
/** @typedef {{ say: (line: string) => void, log: (text: string) => void }} Output */

/** A closed network must be noticed in seconds, not in pip's default minutes. */
const patience = ['--no-user', '--timeout', '15', '--retries', '1', '--no-input', '--disable-pip-version-check'];

/**
 * The reason why it failed, or undefined when it did not.
 * @param {string} python @param {readonly string[]} what @param {Env} env @param {Output} output
 * @returns {string | undefined}
 */
export function pipInstall(python, what, env, output) {
  const args = ['-m', 'pip', 'install', ...patience, ...what];
  output.log(`$ ${python} ${args.join(' ')}\n`);
  const answer = ask(python, args, { env, timeoutMs: 3_600_000 });
  output.log(`${answer.stdout}${answer.stderr}\n`);
  return answer.ok ? undefined : lastError(answer.stderr);
}

/**
 * A virtual environment if this Python can make one, else its own pip with a target folder.
 * @param {string} folder @param {Env} env @param {Output} output
 * @returns {{ python: string, target: string[] }}
 */
export function findPip(folder, env, output) {
  let python = which(env, 'python3');
  if (python === undefined && aptInstall(['python3', 'python3-venv'], env, output.log)) python = which(env, 'python3');
  if (python === undefined) {
    throw new SetupStop('absent', 'there is no python3 to install libtorch with', {
      remedy: `${installCommand(['python3', 'python3-venv'])}, or point TIERRA_LIBTORCH at a libtorch.`,
    });
  }
  const venv = path.join(folder, 'venv');
  const made = () => ask(python, ['-m', 'venv', '--clear', venv], { env, timeoutMs: 120_000 }).ok;
  const hasPip = () => ask(python, ['-m', 'pip', '--version'], { env }).ok;
  if (made()) return { python: path.join(venv, 'bin', 'python'), target: [] };
  rmSync(venv, { recursive: true, force: true });
  if (hasPip()) return { python, target: ['--target', path.join(folder, 'lib')] };
  if (aptInstall(['python3-venv'], env, output.log) && made()) {
    return { python: path.join(venv, 'bin', 'python'), target: [] };
  }
  throw new SetupStop('absent', `${python} has neither venv nor pip to install libtorch with`, {
    remedy: `${installCommand(['python3-venv'])}, or point TIERRA_LIBTORCH at a libtorch.`,
  });
}

/** pip says "no matching distribution" also when it reached no index, so the cause above it is looked for. @param {string} stderr */
function lastError(stderr) {
  const lines = stderr.trim().split('\n');
  const last = lines.findLast((line) => /^ERROR/.test(line)) ?? lines.at(-1) ?? 'no output';
  const unreachable = /NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|NameResolutionError/.exec(
    stderr,
  );
  return unreachable ? `a package index could not be reached (${unreachable[0]})` : last;
}
