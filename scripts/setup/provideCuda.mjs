/** Fetches the headers of CUDA that torch's own wheels lack, so that no toolkit has to be installed. */
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { findCuda, headersFolder } from './findCuda.mjs';
import { findPip, pipInstall } from './pip.mjs';
import { SetupStop } from './stop.mjs';

/** @typedef {import('./env.mjs').Env} Env */
/** @typedef {import('./readTorch.mjs').Torch} Torch */

/**
 * As `findCuda`; where only headers are missing, fetches them with pip (a few MB) unless that is forbidden.
 * @param {Torch} torch @param {Env} env @param {string} ownTorch @param {{ allowed: boolean }} wish
 * @param {import('./pip.mjs').Output} output
 */
export function provideCuda(torch, env, ownTorch, { allowed }, output) {
  const before = findCuda(torch, env, ownTorch);
  if (before.cuda !== undefined || !allowed || torch.cuda === null) return before;
  const [major, minor] = torch.cuda.split('.');
  const release = `==${major}.${minor}.*`;
  // For CUDA 12 the compiler's wheel holds `crt/`; from 13 on it has a wheel of its own.
  const wheels =
    Number(major) < 13
      ? [`nvidia-cuda-runtime-cu${major}${release}`, `nvidia-cuda-nvcc-cu${major}${release}`]
      : [`nvidia-cuda-runtime${release}`, `nvidia-cuda-crt${release}`];
  output.say(`fetching the headers of CUDA ${torch.cuda} into .torch/ (${wheels.join(', ')})`);
  const target = headersFolder(ownTorch, major ?? '');
  const scratch = path.join(ownTorch, 'incoming');
  rmSync(target, { recursive: true, force: true });
  mkdirSync(scratch, { recursive: true });
  try {
    const { python } = findPip(scratch, env, output);
    const problem = pipInstall(
      python,
      ['--target', target, '--no-deps', '--only-binary=:all:', ...wheels],
      env,
      output,
    );
    if (problem !== undefined)
      return { cuda: undefined, looked: [...before.looked, `pip install ${wheels.join(' ')}: ${problem}`] };
  } catch (error) {
    if (!(error instanceof SetupStop)) throw error;
    return { cuda: undefined, looked: [...before.looked, error.message] };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  const compilerHeaders = path.join(target, 'nvidia', 'cuda_nvcc', 'include', 'crt');
  if (existsSync(compilerHeaders)) {
    cpSync(compilerHeaders, path.join(target, 'nvidia', 'cuda_runtime', 'include', 'crt'), { recursive: true });
    rmSync(path.join(target, 'nvidia', 'cuda_nvcc'), { recursive: true });
  }
  return findCuda(torch, env, ownTorch);
}
