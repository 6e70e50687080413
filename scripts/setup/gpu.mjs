/** Whether this machine has an NVIDIA GPU, and what its driver can run. Nothing of CUDA is loaded. */
import { existsSync, readFileSync } from 'node:fs';
import { ask, which } from './run.mjs';

/** @typedef {import('./env.mjs').Env} Env */

/** @param {Env} env @param {string} [proc] */
export function hasNvidiaGpu(env, proc = '/proc') {
  return existsSync(`${proc}/driver/nvidia/version`) || which(env, 'nvidia-smi') !== undefined;
}

/**
 * The driver's version and the newest CUDA it runs, as far as they can be read.
 * @param {Env} env @param {string} [proc]
 * @returns {{ driver: string | undefined, cuda: string | undefined, gpus: string[] }}
 */
export function nvidiaDriver(env, proc = '/proc') {
  const kernel = existsSync(`${proc}/driver/nvidia/version`)
    ? readFileSync(`${proc}/driver/nvidia/version`, 'utf8')
    : '';
  const smi = which(env, 'nvidia-smi');
  const table = smi === undefined ? '' : ask(smi, [], { env }).stdout;
  const names = smi === undefined ? '' : ask(smi, ['--query-gpu=name', '--format=csv,noheader'], { env }).stdout;
  return {
    driver:
      /Kernel Module[^\d]*(?:for \S+\s+)?([\d.]+)/.exec(kernel)?.[1] ?? /Driver Version:\s*([\d.]+)/.exec(table)?.[1],
    cuda: /CUDA Version:\s*([\d.]+)/.exec(table)?.[1],
    gpus: names.split('\n').filter((line) => line.trim() !== ''),
  };
}
