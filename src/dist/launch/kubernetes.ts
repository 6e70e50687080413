/**
 * Pods of an indexed Job or JobSet (kubernetes.io, "Indexed Job"), and Kubeflow Trainer's `PET_*` variables where no
 * torchrun runs in the pod. The PyTorch operator's pods look like torchrun's ranks and are read there; MPIJob's like
 * Open MPI's.
 */
import type { World } from '../world.ts';
import { badEnvironment, type Environment, given, integer, needAll, port } from './variables.ts';

export function fromKubernetes(env: Environment): World | null {
  return fromTrainer(env) ?? fromIndexedJob(env);
}

function fromTrainer(env: Environment): World | null {
  if (given(env, 'PET_NODE_RANK') === undefined) return null;
  const names = ['PET_NODE_RANK', 'PET_NNODES', 'PET_MASTER_ADDR', 'PET_MASTER_PORT'];
  needAll(env, 'Kubeflow Trainer', names);
  const each = given(env, 'PET_NPROC_PER_NODE') ?? '1';
  if (each !== '1') {
    throw badEnvironment(
      `PET_NPROC_PER_NODE=${each} wants a launcher inside the pod, but this process was started alone`,
      'Start the script with `tierra run script` or `torchrun --no-python …` in the pod, or set one process a node.',
    );
  }
  return podWorld(env, integer(env, 'PET_NODE_RANK', 0)!, integer(env, 'PET_NNODES', 1)!, 'PET_MASTER_');
}

/**
 * Kubernetes gives a pod its index and nothing else; how many there are, and where the first is, the job's author says.
 * An index alone is a pod that works by itself.
 */
function fromIndexedJob(env: Environment): World | null {
  const others = ['WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'];
  if (given(env, 'JOB_COMPLETION_INDEX') === undefined) {
    if (given(env, 'WORLD_SIZE') !== undefined && integer(env, 'WORLD_SIZE', 1)! > 1) {
      needAll(env, 'torchrun', ['RANK', ...others]);
    }
    return null;
  }
  if (others.every((name) => given(env, name) === undefined)) return null;
  needAll(env, 'an indexed Kubernetes Job', ['JOB_COMPLETION_INDEX', ...others]);
  return podWorld(env, integer(env, 'JOB_COMPLETION_INDEX', 0)!, integer(env, 'WORLD_SIZE', 1)!, 'MASTER_');
}

function podWorld(env: Environment, rank: number, size: number, prefix: string): World {
  return {
    launcher: 'kubernetes',
    rank,
    size,
    localRank: 0,
    localSize: 1,
    rendezvous: { host: given(env, `${prefix}ADDR`)!, port: port(env, `${prefix}PORT`)!, external: false },
  };
}
