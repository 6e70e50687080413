/**
 * Installs a libtorch of our own into `.torch/`, with pip, when the machine has none. Only the torch wheel itself is taken for
 * a CPU build: it is a complete libtorch, and its Python dependencies are of no use here.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { findTorch } from './findTorch.mjs';
import { findPip, pipInstall } from './pip.mjs';
import { SetupStop } from './stop.mjs';

/** @typedef {import('./env.mjs').Env} Env */
/** @typedef {import('./readTorch.mjs').Torch} Torch */
/** @typedef {import('./pip.mjs').Output} Output */

/** The tested builds. Sizes are of Linux x86-64, for the sentence printed before anything is fetched. */
export const pinned = {
  cpu: { version: '2.13.0', size: 'about 180 MB to download, 760 MB on disk' },
  cuda: { version: '2.11.0', size: 'about 3 GB to download, 7 GB on disk' },
};

/** Where PyTorch publishes CPU wheels; the public package index has only CUDA builds for x86-64. */
const cpuIndex = 'https://download.pytorch.org/whl/cpu';

/**
 * What to install, or the reason why nothing is.
 * @param {{ wish: 'auto' | 'skip' | 'cpu' | 'cuda', gpu: boolean, confirmed: boolean, looked: readonly string[] }} situation
 * @returns {'cpu' | 'cuda'}
 */
export function chooseBuild({ wish, gpu, confirmed, looked }) {
  const none = (/** @type {string} */ because, /** @type {string} */ remedy) =>
    new SetupStop('absent', `no libtorch was found${because}`, { looked, remedy });
  if (wish === 'skip') {
    throw none(
      ', and TIERRA_TORCH=skip forbids installing one',
      'Point TIERRA_LIBTORCH at one, activate a Python environment that has torch, or unset TIERRA_TORCH.',
    );
  }
  if (wish !== 'auto') return wish;
  if (!gpu) return 'cpu';
  if (confirmed) return 'cuda';
  throw none(
    `. This machine has an NVIDIA GPU, and the CUDA build is large (${pinned.cuda.size}), so it is not installed unasked`,
    'Run `npx tierra setup --yes` to install it, or TIERRA_TORCH=cpu for the small CPU build.',
  );
}

/**
 * @param {'cpu' | 'cuda'} build @param {string} ownTorch @param {Env} env @param {Output} output
 * @returns {Torch}
 */
export function installTorch(build, ownTorch, env, output) {
  const { version, size } = pinned[build];
  output.say(`installing torch ${version} (${build === 'cpu' ? 'CPU' : 'CUDA'} build) into .torch/: ${size}`);
  // A half-finished folder of an earlier run must not be taken for an installation, so the new one is made aside.
  const aside = path.join(ownTorch, 'incoming');
  rmSync(aside, { recursive: true, force: true });
  mkdirSync(aside, { recursive: true });
  const pip = findPip(aside, env, output);
  const attempts = build === 'cpu' ? cpuAttempts(version) : [[`torch==${version}`]];
  /** @type {string[]} */
  const looked = [];
  for (const attempt of attempts) {
    const problem = pipInstall(pip.python, [...pip.target, ...attempt], env, output);
    if (problem === undefined) return moveIntoPlace(aside, ownTorch, env);
    looked.push(`pip install ${attempt.join(' ')}: ${problem}`);
  }
  rmSync(aside, { recursive: true, force: true });
  throw new SetupStop('absent', `pip could not install torch ${version} (${build} build)`, {
    looked,
    remedy: `Install torch yourself where python3 finds it, or point TIERRA_LIBTORCH at a libtorch (docs/install.md).`,
  });
}

/**
 * First whatever the user's own pip configuration offers (a mirror, a folder of wheels), then PyTorch's index. The tag
 * `+cpu` is spelled out, or pip would take the CUDA build of the same number.
 * @param {string} version
 */
export function cpuAttempts(version) {
  const wheel = ['--no-deps', '--only-binary=:all:', `torch==${version}+cpu`];
  return [wheel, ['--index-url', cpuIndex, ...wheel]];
}

/** @param {string} aside @param {string} ownTorch @param {Env} env @returns {Torch} */
function moveIntoPlace(aside, ownTorch, env) {
  for (const layout of ['venv', 'lib']) {
    rmSync(path.join(ownTorch, layout), { recursive: true, force: true });
    if (existsSync(path.join(aside, layout))) renameSync(path.join(aside, layout), path.join(ownTorch, layout));
  }
  rmSync(aside, { recursive: true, force: true });
  const only = { PATH: '', HOME: env.HOME };
  const { torch, looked } = findTorch(only, ownTorch);
  if (torch !== undefined) return torch;
  throw new SetupStop('broken', 'pip finished, but what it installed is no libtorch', { looked });
}
