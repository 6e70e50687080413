/** Open MPI's mpirun, also as Kubernetes' MPIJob runs it. No MPI library is used: only the ranks that it hands out. */
import type { World } from '../world.ts';
import { derivedPort } from './derivedPort.ts';
import { firstSlurmNode } from './slurm.ts';
import { badEnvironment, type Environment, given, integer, needAll, port } from './variables.ts';

const names = [
  'OMPI_COMM_WORLD_RANK',
  'OMPI_COMM_WORLD_SIZE',
  'OMPI_COMM_WORLD_LOCAL_RANK',
  'OMPI_COMM_WORLD_LOCAL_SIZE',
] as const;

export function fromOpenMpi(env: Environment): World | null {
  if (given(env, 'OMPI_COMM_WORLD_RANK') === undefined && given(env, 'OMPI_COMM_WORLD_SIZE') === undefined) return null;
  needAll(env, 'Open MPI', names);
  const [rank, size, localRank, localSize] = names.map((name, i) => integer(env, name, i % 2)!) as [
    number,
    number,
    number,
    number,
  ];
  const host = hostOfRankZero(env, size, localSize);
  return {
    launcher: 'openmpi',
    rank,
    size,
    localRank,
    localSize,
    rendezvous: { host, port: port(env, 'MASTER_PORT') ?? derivedPort(jobName(env)), external: false },
  };
}

/** mpirun does not tell ranks where rank 0 is; on one node it is here. */
function hostOfRankZero(env: Environment, size: number, localSize: number): string {
  const host = given(env, 'MASTER_ADDR');
  if (host !== undefined) return host;
  if (localSize === size) return '127.0.0.1';
  const node = firstSlurmNode(env);
  if (node !== undefined) return node;
  throw badEnvironment(
    `Open MPI started ${size} ranks on several nodes, but MASTER_ADDR, the host of rank 0, is not set`,
    'Name the first host: mpirun -x MASTER_ADDR=host-of-rank-0 -x MASTER_PORT=29500 ...',
  );
}

/** The same in all ranks of one mpirun, another in every other: version 5 and later, then 4. */
function jobName(env: Environment): string {
  const names = ['PMIX_NAMESPACE', 'OMPI_MCA_ess_base_jobid', 'OMPI_MCA_orte_hnp_uri', 'SLURM_JOB_ID'];
  return names.map((name) => given(env, name) ?? '').join(' ');
}
