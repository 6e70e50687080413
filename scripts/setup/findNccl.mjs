/** NCCL's header, which a CUDA build needs for collectives between GPUs. The library itself comes with torch. */
import { existsSync } from 'node:fs';
import path from 'node:path';

/** @typedef {import('./env.mjs').Env} Env */
/** @typedef {import('./readTorch.mjs').Torch} Torch */

/**
 * The folder that holds `nccl.h`, if any: `TIERRA_NCCL` names it, or NCCL's own folder; then beside torch (wheels), in a
 * toolkit, on the compiler's path, in the system.
 * @param {Torch} torch @param {Env} env @param {readonly string[]} [system]
 */
export function findNccl(torch, env, system = ['/usr/include', '/usr/local/include']) {
  const named = [env.TIERRA_NCCL, env.NCCL_HOME, env.CUDA_HOME, env.CUDA_PATH, '/usr/local/cuda'];
  const site = path.dirname(torch.root);
  const folders = [
    ...named.slice(0, 2).flatMap(both),
    path.join(site, 'nvidia', 'nccl', 'include'),
    path.join(site, 'nvidia', `cu${torch.cuda?.split('.')[0]}`, 'include'),
    ...named.slice(2).flatMap(both),
    ...(env.CPATH ?? '').split(':').filter(Boolean),
    ...system,
  ];
  return folders.find((folder) => existsSync(path.join(folder, 'nccl.h')));
}

/** A folder and its include/. @param {string | undefined} folder */
const both = (folder) => (folder ? [folder, path.join(folder, 'include')] : []);

/** One line of advice where there is none. @param {Torch} torch */
export const ncclAdvice = (torch) =>
  `pip install nvidia-nccl-cu${torch.cuda?.split('.')[0]} beside torch (or name a folder with nccl.h in TIERRA_NCCL), then run setup again.`;
