/** libtorch, CUDA, liburing and the addon itself, with the finders that setup uses. */
import { existsSync, readFileSync } from 'node:fs';
import { findCuda } from '../setup/findCuda.mjs';
import { findNccl, ncclAdvice } from '../setup/findNccl.mjs';
import { findTorch } from '../setup/findTorch.mjs';
import { findUring, uringAdvice } from '../setup/findUring.mjs';
import { inputsFor } from '../setup/flow.mjs';
import { nvidiaDriver } from '../setup/gpu.mjs';
import { probeAddon } from '../setup/probe.mjs';
import { describeTorch, judgeVersion, supported } from '../setup/readTorch.mjs';
import { ask, which } from '../setup/run.mjs';
import { contractOf, whyBuild } from '../setup/stamp.mjs';
import { SetupStop } from '../setup/stop.mjs';
import { broken, off, ok } from './finding.mjs';

/** @typedef {import('./finding.mjs').Finding} Finding */
/** @typedef {import('../setup/env.mjs').Env} Env */
/** @typedef {import('../setup/paths.mjs').Places} Places */
/** @typedef {import('../setup/readTorch.mjs').Torch} Torch */

const setup = 'npx tierra setup';

/** @param {Places} places @param {Env} env @returns {Finding[]} */
export function checkLibraries(places, env) {
  const { finding, torch } = checkTorch(places, env);
  return [finding, ...checkCuda(places, torch, env), ...checkUring(env), checkAddon(places, torch, env)];
}

/** @param {Places} places @param {Env} env @returns {{ finding: Finding, torch?: Torch }} */
export function checkTorch(places, env) {
  const name = 'libtorch';
  try {
    const { torch, looked } = findTorch(env, places.ownTorch);
    if (torch === undefined)
      return { finding: off(name, ['none found', ...looked].join('\n- '), `${setup} installs one`) };
    const untested =
      judgeVersion(torch.version) === 'new'
        ? ` (newer than the tested ${supported.oldest} to ${supported.newest})`
        : '';
    return { finding: ok(name, describeTorch(torch).replace(/^libtorch /, '') + untested), torch };
  } catch (error) {
    if (!(error instanceof SetupStop)) throw error;
    return { finding: broken(name, error.message, error.remedy ?? setup) };
  }
}

/** @param {Places} places @param {Torch | undefined} torch @param {Env} env @returns {Finding[]} */
function checkCuda(places, torch, env) {
  const { driver, cuda, gpus } = nvidiaDriver(env);
  if (driver === undefined && gpus.length === 0) {
    return [
      off(
        'NVIDIA GPU',
        'none: training runs on the CPU',
        'Nothing to do, unless there should be one: install its driver.',
      ),
    ];
  }
  const runs = cuda === undefined ? '' : `, runs CUDA up to ${cuda}`;
  const seen = ok('NVIDIA GPU', `${gpus.join(', ') || 'present'}, driver ${driver ?? 'unknown'}${runs}`);
  if (torch === undefined) return [seen];
  if (torch.cuda === null) {
    const remedy = 'Install a CUDA build of torch (pip install torch), then run setup again.';
    return [seen, off('CUDA', 'libtorch is a CPU build: the GPU is not used', remedy)];
  }
  // A driver runs every CUDA of its own major version (minor version compatibility) and all older ones.
  if (cuda !== undefined && Number.parseInt(cuda, 10) < Number.parseInt(torch.cuda, 10)) {
    const found = `torch was built for CUDA ${torch.cuda}, the driver runs up to ${cuda}`;
    return [seen, broken('CUDA', found, `Update the driver, or install a torch built for CUDA ${cuda}.`)];
  }
  const { cuda: pieces, looked } = findCuda(torch, env, places.ownTorch);
  if (pieces !== undefined) {
    return [seen, ok('CUDA', `${torch.cuda}, headers and runtime from ${pieces.from}`), checkNccl(torch, env)];
  }
  const found = [`no headers and runtime of CUDA ${torch.cuda} to build with`, ...looked].join('\n- ');
  return [seen, off('CUDA', found, `${setup} fetches the headers; or install the CUDA ${torch.cuda} toolkit.`)];
}

/** @param {Torch} torch @param {Env} env @returns {Finding} */
function checkNccl(torch, env) {
  const headers = findNccl(torch, env);
  if (headers !== undefined) return ok('NCCL', `nccl.h in ${headers}`);
  return off('NCCL', 'no nccl.h: no training on several GPUs', ncclAdvice(torch));
}

/** @param {Env} env @returns {Finding[]} */
function checkUring(env) {
  const headers = findUring(env);
  return [
    headers === undefined ? off('liburing', 'no headers', uringAdvice()) : ok('liburing', `headers in ${headers}`),
    checkKernelUring(env),
  ];
}

/** Asks the kernel for a ring, since container profiles forbid the call without a trace in /proc. @param {Env} env @returns {Finding} */
function checkKernelUring(env) {
  const name = 'io_uring';
  const fallback = 'Disk transfers use threads instead';
  const file = '/proc/sys/kernel/io_uring_disabled';
  if (existsSync(file)) {
    const value = readFileSync(file, 'utf8').trim();
    if (value === '2' || (value === '1' && process.getuid?.() !== 0)) {
      return off(
        name,
        `switched off by the kernel (io_uring_disabled=${value})`,
        `${fallback}; sysctl kernel.io_uring_disabled=0 allows it.`,
      );
    }
  }
  const python = which(env, 'python3');
  if (python === undefined) return ok(name, 'not forbidden by the kernel (not tried: no python3)');
  const setupCall = 425; // io_uring_setup, the same number on x86-64 and arm64
  const script = `import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
ring = libc.syscall(${setupCall}, 1, ctypes.byref((ctypes.c_char * 120)()))
print("ok" if ring >= 0 else os.strerror(ctypes.get_errno()))`;
  const answer = ask(python, ['-c', script], { env, cwd: '/' }).stdout.trim();
  if (answer === 'ok') return ok(name, 'the kernel gives us a ring');
  return off(
    name,
    `the kernel refuses: ${answer || 'no answer'}`,
    `${fallback}; in Docker, allow it with a seccomp profile.`,
  );
}

/** @param {{ gloo: boolean, nccl: boolean }} info */
const betweenRanks = (info) =>
  [info.gloo ? 'Gloo' : '', info.nccl ? 'NCCL' : ''].filter(Boolean).join(' and ') || 'nothing, one process only';

/** @param {Places} places @param {Torch | undefined} torch @param {Env} env @returns {Finding} */
export function checkAddon(places, torch, env) {
  const name = 'addon';
  const file = env.TIERRA_ADDON ?? places.addon;
  if (!existsSync(file)) return off(name, `${file} is not built: no training`, setup);
  const probe = probeAddon(file, contractOf(places.root), env);
  if (!probe.ok) return broken(name, probe.problem, probe.remedy);
  const { info, devices } = probe;
  const features = `libtorch ${info.torchVersion}, CUDA ${info.cuda ? `on (${devices} devices)` : 'off'}, io_uring ${info.uring ? 'on' : 'off'}, between ranks: ${betweenRanks(info)}`;
  if (file !== places.addon) return ok(name, `${features} (TIERRA_ADDON)`);
  const why = torch && whyBuild(places, inputsFor(places, torch, env, findUring(env) !== undefined));
  if (why !== undefined) return off(name, `${features}; works, but is out of date: ${why}`, setup);
  return ok(name, features);
}
