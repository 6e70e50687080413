/** Tries an addon in a child process, so that one that crashes takes nothing with it. */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadRemedy } from './advice.mjs';

const child = path.join(path.dirname(fileURLToPath(import.meta.url)), 'probeChild.mjs');

/**
 * @typedef {{ torchVersion: string, compiler: string, cuda: boolean, uring: boolean, gloo: boolean, nccl: boolean }} BuildInfo as the addon reports it
 * @typedef {{ ok: true, info: BuildInfo, devices: number } | { ok: false, problem: string, remedy: string }} Probe
 */

/**
 * Loads the addon, compares contracts and adds 1 + 2 with libtorch.
 * @param {string} addon @param {string} contract @param {import('./env.mjs').Env} env
 * @returns {Probe}
 */
export function probeAddon(addon, contract, env) {
  const result = spawnSync(process.execPath, [child, addon, contract], {
    env: /** @type {NodeJS.ProcessEnv} */ (env),
    encoding: 'utf8',
    timeout: 180_000,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const line = (result.stdout ?? '').trim().split('\n').at(-1) ?? '';
  if (result.status === 0) {
    try {
      return { ok: true, ...JSON.parse(line) };
    } catch {
      return {
        ok: false,
        problem: `the probe's answer is not JSON: ${line.slice(0, 200)}`,
        remedy: loadRemedy('', null),
      };
    }
  }
  const last = (result.stderr ?? '').trim().split('\n').slice(-3).join(' | ');
  if (result.signal !== null) {
    const problem = `the addon took its process down (${result.signal})${last === '' ? '' : `: ${last}`}`;
    return { ok: false, problem, remedy: loadRemedy(last, result.signal) };
  }
  return { ok: false, problem: last || `exit code ${result.status}`, remedy: loadRemedy(last, null) };
}
