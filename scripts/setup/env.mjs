/** The environment variables that steer setup, read once and refused when misspelt. */
import { SetupStop } from './stop.mjs';

/** @typedef {Record<string, string | undefined>} Env */

/**
 * @typedef {object} Wishes
 * @property {'auto' | 'skip' | 'require'} native
 * @property {'auto' | 'skip' | 'cpu' | 'cuda'} torch
 * @property {string | undefined} libtorch
 * @property {number | undefined} jobs
 */

/** @param {Env} env @returns {Wishes} */
export function readWishes(env) {
  return {
    native: oneOf(env, 'TIERRA_NATIVE', /** @type {const} */ (['auto', 'skip', 'require'])),
    torch: oneOf(env, 'TIERRA_TORCH', /** @type {const} */ (['auto', 'skip', 'cpu', 'cuda'])),
    libtorch: env.TIERRA_LIBTORCH || undefined,
    jobs: jobsFrom(env),
  };
}

/**
 * @template {string} T
 * @param {Env} env @param {string} name @param {readonly [T, ...T[]]} allowed the first is the default
 * @returns {T}
 */
function oneOf(env, name, allowed) {
  const value = env[name];
  if (value === undefined || value === '') return allowed[0];
  const known = allowed.find((word) => word === value);
  if (known !== undefined) return known;
  throw new SetupStop('broken', `${name}=${value} is not understood`, {
    remedy: `Use one of ${allowed.join(', ')}, or unset it.`,
  });
}

/** @param {Env} env @returns {number | undefined} */
function jobsFrom(env) {
  const value = env.TIERRA_JOBS;
  if (value === undefined || value === '') return undefined;
  const jobs = Number(value);
  if (Number.isInteger(jobs) && jobs >= 1) return jobs;
  throw new SetupStop('broken', `TIERRA_JOBS=${value} is not a number of compile jobs`, {
    remedy: 'Use a whole number from 1 up, or unset it.',
  });
}
