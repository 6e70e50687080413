/** Slurm's srun (slurm.schedmd.com/srun.html, "OUTPUT ENVIRONMENT VARIABLES"). */
import type { World } from '../world.ts';
import { derivedPort } from './derivedPort.ts';
import { nodesOf } from './nodeList.ts';
import { badEnvironment, type Environment, given, integer, needAll, port } from './variables.ts';

export function fromSlurm(env: Environment): World | null {
  if (given(env, 'SLURM_PROCID') === undefined) return null;
  const sizeName = firstGiven(env, ['SLURM_STEP_NUM_TASKS', 'SLURM_NTASKS', 'SLURM_NPROCS']) ?? 'SLURM_NTASKS';
  needAll(env, 'Slurm', ['SLURM_PROCID', sizeName, 'SLURM_LOCALID']);
  const size = integer(env, sizeName, 1)!;
  if (size > 1) checkStartedBySrun(env, sizeName, size);
  const localRank = integer(env, 'SLURM_LOCALID', 0)!;
  return {
    launcher: 'slurm',
    rank: integer(env, 'SLURM_PROCID', 0)!,
    size,
    localRank,
    localSize: size === 1 ? 1 : tasksOnThisNode(env, size),
    rendezvous: size === 1 ? null : { host: hostOfRankZero(env), port: portOf(env), external: false },
  };
}

/** The first node of the job step, where Slurm's block distribution puts rank 0; undefined outside of Slurm. */
export function firstSlurmNode(env: Environment): string | undefined {
  const name = firstGiven(env, ['SLURM_STEP_NODELIST', 'SLURM_NODELIST', 'SLURM_JOB_NODELIST']);
  return name === undefined ? undefined : nodesOf(given(env, name)!, name)[0];
}

/**
 * A script that sbatch itself runs sees the size of the allocation but is one process: waiting for ranks that nobody
 * starts would only time out.
 */
function checkStartedBySrun(env: Environment, sizeName: string, size: number): void {
  if (firstGiven(env, ['SLURM_STEP_ID', 'SLURM_STEPID', 'SLURM_STEP_NUM_TASKS']) !== undefined) return;
  throw badEnvironment(
    `${sizeName}=${size}, but SLURM_STEP_ID is not set: the batch script runs this process, srun does not`,
    'Put srun before the command in the batch script, or use `srun --ntasks=1` or `sbatch --ntasks=1` for one process.',
  );
}

function hostOfRankZero(env: Environment): string {
  const host = given(env, 'MASTER_ADDR') ?? firstSlurmNode(env);
  if (host !== undefined) return host;
  throw badEnvironment('Slurm set neither SLURM_STEP_NODELIST nor SLURM_NODELIST', 'Set MASTER_ADDR to rank 0’s host.');
}

function portOf(env: Environment): number {
  const asked = port(env, 'MASTER_PORT');
  if (asked !== undefined) return asked;
  needAll(env, 'Slurm', ['SLURM_PROCID', 'SLURM_JOB_ID']);
  return derivedPort(
    `${given(env, 'SLURM_JOB_ID')}.${given(env, 'SLURM_STEP_ID') ?? given(env, 'SLURM_STEPID') ?? ''}`,
  );
}

/** From "2(x3),1" by the node's position, or from the number that was asked for on every node. */
function tasksOnThisNode(env: Environment, size: number): number {
  const name = firstGiven(env, ['SLURM_STEP_TASKS_PER_NODE', 'SLURM_TASKS_PER_NODE']);
  if (name !== undefined) {
    const counts = taskCounts(given(env, name)!, name);
    const node = counts.length === 1 ? 0 : integer(env, 'SLURM_NODEID', 0);
    if (node === undefined) needAll(env, 'Slurm', [name, 'SLURM_NODEID']);
    const count = counts[node!];
    if (count !== undefined) return count;
    throw badEnvironment(`SLURM_NODEID=${node}, but ${name}=${env[name]} describes ${counts.length} nodes`);
  }
  const everywhere = integer(env, 'SLURM_NTASKS_PER_NODE', 1);
  if (everywhere !== undefined) return Math.min(everywhere, size);
  throw badEnvironment('Slurm set neither SLURM_STEP_TASKS_PER_NODE, SLURM_TASKS_PER_NODE nor SLURM_NTASKS_PER_NODE');
}

function taskCounts(text: string, name: string): number[] {
  return text.split(',').flatMap((part) => {
    const match = /^(\d{1,6})(?:\(x(\d{1,6})\))?$/.exec(part.trim());
    if (match === null) throw badEnvironment(`cannot read ${name}=${text}; it should look like 2(x3),1`);
    return Array.from({ length: Number(match[2] ?? 1) }, () => Number(match[1]));
  });
}

const firstGiven = (env: Environment, names: readonly string[]): string | undefined =>
  names.find((name) => given(env, name) !== undefined);
