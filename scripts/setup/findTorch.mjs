/**
 * Looks for libtorch where a user would expect it to be looked for; the first usable one wins. Every attempt is kept, so that
 * a failure can say all that was tried. An explicit wish that does not hold stops the search: falling through would
 * build against something nobody asked for.
 */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describeTorch, judgeVersion, readTorch, supported } from './readTorch.mjs';
import { ask, which } from './run.mjs';
import { SetupStop } from './stop.mjs';

/** @typedef {import('./readTorch.mjs').Torch} Torch */
/** @typedef {import('./env.mjs').Env} Env */

const range = `${supported.oldest} to ${supported.newest}`;

/** Finds the package's folder without importing it, which would start CUDA and take seconds. */
const whereIsTorch = `
import importlib.util
spec = importlib.util.find_spec("torch")
print(spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else "")
`;

/**
 * @param {Env} env
 * @param {string} ownTorch the folder of our own installations
 * @returns {{ torch: Torch | undefined, looked: string[] }}
 */
export function findTorch(env, ownTorch) {
  const explicit = env.TIERRA_LIBTORCH;
  if (explicit) return { torch: explicitTorch(explicit), looked: [] };

  /** @type {string[]} */
  const looked = ['TIERRA_LIBTORCH: not set'];
  for (const { from, find } of places(env, ownTorch)) {
    const answer = find();
    const read = 'root' in answer ? readTorch(answer.root, from) : answer;
    if ('problem' in read) {
      looked.push(`${from}: ${read.problem}`);
    } else if (judgeVersion(read.torch.version) === 'old') {
      looked.push(`${from}: torch ${read.torch.version} in ${read.torch.root} is too old (${range} are supported)`);
    } else {
      looked.push(describeTorch(read.torch));
      return { torch: read.torch, looked };
    }
  }
  return { torch: undefined, looked };
}

/** @param {string} root @returns {Torch} */
function explicitTorch(root) {
  const read = readTorch(path.resolve(root), 'TIERRA_LIBTORCH');
  const remedy =
    'Point TIERRA_LIBTORCH at a folder with include/ and lib/ (a libtorch archive, or site-packages/torch), or unset it.';
  if ('problem' in read) {
    throw new SetupStop('broken', `TIERRA_LIBTORCH=${root} is not a libtorch: ${read.problem}`, { remedy });
  }
  if (judgeVersion(read.torch.version) === 'old') {
    const message = `TIERRA_LIBTORCH=${root} is libtorch ${read.torch.version}, which is too old: ${range} are supported`;
    throw new SetupStop('broken', message, {
      remedy: `Update it (pip install "torch>=${supported.oldest}"), or unset it.`,
    });
  }
  return read.torch;
}

/**
 * @typedef {{ root: string } | { problem: string }} Answer
 * @param {Env} env @param {string} ownTorch
 * @returns {{ from: string, find: () => Answer }[]}
 */
function places(env, ownTorch) {
  const inside = (/** @type {string} */ variable) => {
    const prefix = env[variable];
    return prefix ? askPython(path.join(prefix, 'bin', 'python'), env) : { problem: 'not active' };
  };
  return [
    { from: 'the active venv (VIRTUAL_ENV)', find: () => inside('VIRTUAL_ENV') },
    { from: 'the active conda environment (CONDA_PREFIX)', find: () => inside('CONDA_PREFIX') },
    { from: 'python3 on PATH', find: () => askPython(which(env, 'python3'), env) },
    { from: '.torch/', find: () => inOwnTorch(ownTorch) },
  ];
}

/** @param {string | undefined} python @param {Env} env @returns {Answer} */
function askPython(python, env) {
  if (python === undefined) return { problem: 'no such program' };
  if (!existsSync(python)) return { problem: `${python} does not exist` };
  // From "/", because Python would take a folder called torch in the working directory for the package.
  const answer = ask(python, ['-c', whereIsTorch], { env, cwd: '/' });
  if (!answer.ok) return { problem: `${python} does not run: ${answer.stderr.trim().split('\n').at(-1)}` };
  const root = answer.stdout.trim();
  return root === '' ? { problem: `${python} has no torch` } : { root };
}

/** Our own folder is read directly: a second install must not wait for a Python to start. @param {string} ownTorch @returns {Answer} */
function inOwnTorch(ownTorch) {
  const roots = [path.join(ownTorch, 'lib', 'torch')];
  const venvLib = path.join(ownTorch, 'venv', 'lib');
  if (existsSync(venvLib)) {
    for (const python of readdirSync(venvLib)) roots.push(path.join(venvLib, python, 'site-packages', 'torch'));
  }
  const root = roots.find((candidate) => existsSync(candidate));
  return root === undefined ? { problem: `nothing installed in ${ownTorch}` } : { root };
}
