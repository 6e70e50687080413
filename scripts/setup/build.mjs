/** Compiles the addon with cmake-js, quietly, in a folder that is kept for the next time. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { buildRemedy, firstErrors } from './advice.mjs';
import { SetupStop } from './stop.mjs';

/** @typedef {import('./env.mjs').Env} Env */
/** @typedef {import('./paths.mjs').Places} Places */
/** @typedef {import('./stamp.mjs').Inputs} Inputs */
/** @typedef {import('./output.mjs').Output} Output */

/**
 * @param {Places} places @param {Inputs} inputs @param {{ jobs: number, cxx: string, cmake: string }} tools
 * @param {Env} env @param {Output} output
 * @returns {Promise<string>} the file that was built
 */
export async function buildAddon(places, inputs, tools, env, output) {
  const common = [cmakeJs(places.root), '--directory', places.native, '--out', places.objects];
  const definitions = Object.entries(defineAll(inputs, env)).map(([name, value]) => `--CD${name}=${value}`);
  const configure = [...common, 'configure', '--cmake-path', tools.cmake, ...definitions];
  const build = [...common, 'build', '--cmake-path', tools.cmake, '--parallel', String(tools.jobs)];
  const started = Date.now();
  const run = (/** @type {string[]} */ args) =>
    runLogged(args, { ...env, CXX: tools.cxx }, places.root, output, (step) => {
      const seconds = Math.round((Date.now() - started) / 1000);
      output.progress(`building the addon, ${tools.jobs} jobs: ${step} (${seconds} s)`);
    });

  const kept = forgetOtherInputs(places.objects, inputs);
  let ok = await run(configure);
  if (!ok && kept) {
    // The folder may be of another checkout, CMake or compiler: once more from nothing.
    rmSync(places.objects, { recursive: true, force: true });
    forgetOtherInputs(places.objects, inputs);
    ok = await run(configure);
  }
  if (ok) ok = await run(build);
  if (!ok) {
    const log = output.logged();
    throw new SetupStop('broken', 'the addon does not compile (the whole output is in build/setup.log)', {
      looked: firstErrors(log),
      remedy: buildRemedy(log),
    });
  }
  const built = ['Release/tierra.node', 'tierra.node'].map((name) => path.join(places.objects, name)).find(existsSync);
  if (built === undefined) {
    throw new SetupStop('broken', `the build ended well, but there is no tierra.node in ${places.objects}`, {
      remedy: 'Remove build/ and run `npx tierra setup`.',
    });
  }
  return built;
}

/** What CMake is told. @param {Inputs} inputs @param {Env} env @returns {Record<string, string>} */
function defineAll(inputs, env) {
  const cuda = inputs.cudaInclude !== null && inputs.cudaLib !== null;
  return {
    TIERRA_TORCH_ROOT: inputs.torchRoot,
    TIERRA_CUDA: cuda ? 'ON' : 'OFF',
    TIERRA_CUDA_INCLUDE: inputs.cudaInclude ?? '',
    TIERRA_CUDA_LIB: inputs.cudaLib === null ? '' : path.dirname(inputs.cudaLib),
    TIERRA_NCCL_INCLUDE: inputs.ncclInclude ?? '',
    TIERRA_URING: inputs.uring ? 'ON' : 'OFF',
    TIERRA_SOURCE_HASH: inputs.sourceHash,
    // A newer compiler's new warning must not keep a user from installing; our own checks set the variable.
    TIERRA_WERROR: env.TIERRA_WERROR === '1' ? 'ON' : 'OFF',
  };
}

/**
 * CMake keeps the libraries it found once, so objects of another libtorch are thrown away. True when some were kept.
 * @param {string} folder @param {Inputs} inputs
 */
function forgetOtherInputs(folder, inputs) {
  const { sourceHash: _, contract: __, ...lasting } = inputs;
  const note = path.join(folder, 'tierra-inputs.json');
  const now = JSON.stringify(lasting);
  if (existsSync(note) && readFileSync(note, 'utf8') === now) return true;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(note, now);
  return false;
}

/** cmake-js as the package manager placed it, also when Tierra itself is a dependency. @param {string} root */
function cmakeJs(root) {
  const require = createRequire(path.join(root, 'package.json'));
  try {
    const manifest = require.resolve('cmake-js/package.json');
    return path.join(path.dirname(manifest), require(manifest).bin['cmake-js']);
  } catch {
    throw new SetupStop('broken', `cmake-js is not installed beside ${root}`, { remedy: 'Run `npm install` first.' });
  }
}

/**
 * @param {string[]} args @param {Env} env @param {string} cwd @param {Output} output @param {(step: string) => void} onStep
 * @returns {Promise<boolean>}
 */
function runLogged(args, env, cwd, output, onStep) {
  output.log(`$ node ${args.join(' ')}\n`);
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, {
      cwd,
      env: /** @type {NodeJS.ProcessEnv} */ (env),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const take = (/** @type {Buffer} */ chunk) => {
      const text = chunk.toString();
      output.log(text);
      const step = [...text.matchAll(/^\[\s*(\d+\/\d+|\d+%)\]/gm)].at(-1)?.[1];
      if (step !== undefined) onStep(step);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', (error) => {
      output.log(`${error}\n`);
      resolve(false);
    });
    child.on('close', (code, signal) => {
      if (signal !== null) output.log(`Killed by ${signal}\n`);
      resolve(code === 0);
    });
  });
}
