/** The order of things: look, decide whether there is work, install and build what is missing, try it, put it in place. */
import { copyFileSync, existsSync, renameSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { buildAddon } from './build.mjs';
import { readWishes } from './env.mjs';
import { findCuda } from './findCuda.mjs';
import { findNccl, ncclAdvice } from './findNccl.mjs';
import { requireTools } from './findTools.mjs';
import { findTorch } from './findTorch.mjs';
import { findUring, provideUring } from './findUring.mjs';
import { hasNvidiaGpu } from './gpu.mjs';
import { chooseBuild, installTorch } from './installTorch.mjs';
import { takeLock } from './lock.mjs';
import { compileJobs } from './memory.mjs';
import { checkPlatform, thisMachine } from './platform.mjs';
import { probeAddon } from './probe.mjs';
import { provideCuda } from './provideCuda.mjs';
import { describeTorch, judgeVersion, supported } from './readTorch.mjs';
import { contractOf, hashSources, whyBuild, writeRecord } from './stamp.mjs';
import { SetupStop } from './stop.mjs';

/** @typedef {import('./env.mjs').Env} Env */
/** @typedef {import('./paths.mjs').Places} Places */
/** @typedef {import('./output.mjs').Output} Output */
/** @typedef {import('./readTorch.mjs').Torch} Torch */
/** @typedef {import('./stamp.mjs').Inputs} Inputs */

/**
 * Brings the addon up to date, or throws `SetupStop`.
 * @param {{ places: Places, env: Env, output: Output, confirmed: boolean, force: boolean,
 *   machine?: { platform: string, arch: string, kernel: string } }} options
 * @returns {Promise<'current' | 'built'>}
 */
export async function setUp({ places, env, output, confirmed, force, machine = thisMachine() }) {
  const wishes = readWishes(env);
  const remark = checkPlatform(machine);
  requireSources(places);

  const before = findTorch(env, places.ownTorch);
  if (before.torch !== undefined && !force) {
    const inputs = inputsFor(places, before.torch, env, findUring(env) !== undefined);
    if (whyBuild(places, inputs) === undefined) return 'current';
  }
  if (remark !== '') output.say(remark);

  const release = await takeLock(places.lock, output.say);
  try {
    // Whoever held the lock may have done the work, so everything is looked at again.
    let { torch, looked } = findTorch(env, places.ownTorch);
    if (torch === undefined) {
      const build = chooseBuild({ wish: wishes.torch, gpu: hasNvidiaGpu(env), confirmed, looked });
      const tools = requireTools(env);
      output.log(`${JSON.stringify(tools)}\n`);
      torch = installTorch(build, places.ownTorch, env, output);
    }
    const current = inputsFor(places, torch, env, findUring(env) !== undefined);
    const why = force ? 'asked for' : whyBuild(places, current);
    if (why === undefined) return 'current';
    await build(places, torch, why, wishes, env, output);
    return 'built';
  } finally {
    release();
  }
}

/**
 * @param {Places} places @param {Torch} torch @param {string} why @param {import('./env.mjs').Wishes} wishes
 * @param {Env} env @param {Output} output
 */
async function build(places, torch, why, wishes, env, output) {
  const tools = requireTools(env);
  output.say(`using ${describeTorch(torch)}`);
  if (judgeVersion(torch.version) === 'new') {
    output.say(
      `libtorch ${torch.version} is newer than the tested ${supported.oldest} to ${supported.newest}: trying it`,
    );
  }
  if (torch.cuda !== null) announceCuda(places, torch, wishes, env, output);
  const inputs = inputsFor(places, torch, env, provideUring(env, output) !== undefined);
  const jobs = compileJobs(wishes.jobs);
  output.say(`building the addon with ${tools.compiler.version}, ${jobs} jobs, log in build/setup.log (${why})`);
  const started = Date.now();
  const chosen = { jobs, cxx: tools.compiler.path, cmake: tools.cmake.path };
  const built = await buildAddon(places, inputs, chosen, env, output);

  const candidate = `${places.addon}.${process.pid}.node`;
  copyFileSync(built, candidate);
  try {
    const probe = probeAddon(candidate, inputs.contract, env);
    output.log(`probe: ${JSON.stringify(probe)}\n`);
    if (!probe.ok) {
      const message = `the addon was built, but does not work: ${probe.problem}`;
      throw new SetupStop('broken', message, { remedy: probe.remedy });
    }
    renameSync(candidate, places.addon);
    writeRecord(places, {
      ...inputs,
      compiler: tools.compiler.version,
      cmake: tools.cmake.version,
      node: process.version,
      addonBytes: statSync(places.addon).size,
    });
    output.say(`addon ready in ${Math.round((Date.now() - started) / 1000)} s: ${describeFeatures(inputs)}`);
  } finally {
    rmSync(candidate, { force: true });
  }
}

/**
 * Says which CUDA the addon is built with, or loudly that it is built without.
 * @param {Places} places @param {Torch} torch @param {import('./env.mjs').Wishes} wishes @param {Env} env
 * @param {Output} output
 */
function announceCuda(places, torch, wishes, env, output) {
  const { cuda, looked } = provideCuda(torch, env, places.ownTorch, { allowed: wishes.torch !== 'skip' }, output);
  if (cuda !== undefined) {
    output.say(`CUDA headers from ${cuda.from}, runtime ${cuda.lib}`);
    if (findNccl(torch, env) === undefined) output.say(`no nccl.h: building without NCCL (${ncclAdvice(torch)})`);
  } else {
    const list = looked.map((line) => `\n  - ${line}`).join('');
    output.say(`building WITHOUT CUDA although torch has it: no headers and runtime of CUDA ${torch.cuda}${list}`);
  }
}

/** @param {Places} places @param {Torch} torch @param {Env} env @param {boolean} uring @returns {Inputs} */
export function inputsFor(places, torch, env, uring) {
  const { cuda } = torch.cuda === null ? { cuda: undefined } : findCuda(torch, env, places.ownTorch);
  return {
    sourceHash: hashSources(places.native),
    contract: contractOf(places.root),
    torchRoot: torch.root,
    torchVersion: torch.version,
    torchCuda: torch.cuda,
    cudaInclude: cuda?.include ?? null,
    cudaLib: cuda?.lib ?? null,
    ncclInclude: (cuda && findNccl(torch, env)) ?? null,
    uring,
  };
}

/** @param {Inputs} inputs */
export function describeFeatures(inputs) {
  const cuda = inputs.cudaInclude === null ? 'CPU only' : `CUDA ${inputs.torchCuda}`;
  const nccl = inputs.ncclInclude === null ? '' : ', NCCL';
  return `libtorch ${inputs.torchVersion}, ${cuda}${nccl}, ${inputs.uring ? 'with' : 'without'} io_uring`;
}

/** @param {Places} places */
function requireSources(places) {
  if (existsSync(path.join(places.native, 'CMakeLists.txt'))) return;
  throw new SetupStop('absent', `the addon's sources are not in ${places.native}`, {
    remedy: 'Install the package again, or clone the repository completely.',
  });
}
