/** Who this process is among those that train together, by the variables of the launcher that started it. */
import { alone, type World } from '../world.ts';
import { fromKubernetes } from './kubernetes.ts';
import { fromOpenMpi } from './openMpi.ts';
import { restartsSoFar } from './restarts.ts';
import { fromSlurm } from './slurm.ts';
import { fromTorchrun } from './torchrun.ts';
import { badEnvironment, type Environment } from './variables.ts';

/**
 * The first launcher that knows this process wins. The order matters where one runs inside another: torchrun and
 * `tierra run` (the same variables) inside anything; mpirun inside a Slurm allocation, whose own variables then
 * describe the allocation and not the process; Kubernetes' index below what runs inside its pods.
 */
const readers = [fromTorchrun, fromOpenMpi, fromSlurm, fromKubernetes];

/** Throws `E_LAUNCH`, naming the variables, where they are incomplete or contradict each other. */
export function worldFromEnvironment(env: Environment): World {
  for (const read of readers) {
    const world = read(env);
    if (world !== null) return withAttempt(checked(world), restartsSoFar(env));
  }
  return alone;
}

function checked(world: World): World {
  const { rank, size, localRank, localSize, launcher } = world;
  if (rank >= size) {
    throw badEnvironment(`${launcher} says rank ${rank} of ${size} ranks; ranks are 0 to ${size - 1}`);
  }
  if (localRank >= localSize) {
    throw badEnvironment(
      `${launcher} says local rank ${localRank} of ${localSize} ranks on this node; local ranks are 0 to ${localSize - 1}`,
    );
  }
  if (localSize > size) throw badEnvironment(`${launcher} says ${localSize} ranks on this node, but ${size} in all`);
  return size === 1 ? { ...world, rendezvous: null } : world;
}

/** torchrun keeps its store over restarts, old keys and all. */
const withAttempt = (world: World, attempt: number): World =>
  world.rendezvous === null || attempt === 0 ? world : { ...world, rendezvous: { ...world.rendezvous, attempt } };
