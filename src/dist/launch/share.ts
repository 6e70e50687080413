/** What a rank takes of its node: a device, a share of the cores, a way to talk. */
import { availableParallelism, cpus } from 'node:os';
import { TierraError } from '../../core/errors.ts';
import { native } from '../../native/load.ts';
import type { Backend, World } from '../world.ts';
import { type Environment, given } from './variables.ts';

/** What was asked for, or what suits the device. Throws `E_UNSUPPORTED` where NCCL has no GPUs to talk between. */
export function chooseBackend(wanted: Backend | 'auto', device: string): Backend {
  if (wanted === 'auto') return device === 'cpu' ? 'gloo' : 'nccl';
  if (wanted === 'gloo' || device !== 'cpu') return wanted;
  const { cuda, torchVersion } = native().buildInfo;
  const why = cuda ? 'device is cpu' : `the addon was built over libtorch ${torchVersion} without CUDA`;
  throw new TierraError('E_UNSUPPORTED', `parallel.backend: nccl moves bytes between GPUs, but ${why}`, {
    hint: 'Set parallel.backend: auto or gloo, or train on a GPU with a CUDA build.',
  });
}

/** A launcher that shows each rank one device only (Slurm's `--gpus-per-task`) has divided them already. */
export function deviceIndexFor({ localRank, size }: World, devices: number, env: Environment): number {
  if (size === 1) return 0;
  const shown = given(env, 'CUDA_VISIBLE_DEVICES')?.split(',').length;
  return devices === 1 && shown === 1 ? 0 : localRank;
}

/**
 * Cores for this rank: an equal share of what this process may use. srun and mpirun often bind each rank to cores of
 * its own; where the ranks' cores together are no more than the machine has, they have been divided already.
 */
export function threadsPerRank({ launcher, localSize }: World): number {
  const usable = availableParallelism();
  const binds = launcher === 'slurm' || launcher === 'openmpi';
  if (binds && usable * localSize <= cpus().length) return usable;
  return Math.max(1, Math.floor(usable / localSize));
}
