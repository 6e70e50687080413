import { describe, expect, it, test } from 'vitest';
import { isTierraError } from '../../../src/core/errors.ts';
import { worldFromEnvironment } from '../../../src/dist/launch/environment.ts';
import { nodesOf } from '../../../src/dist/launch/nodeList.ts';
import type { Environment } from '../../../src/dist/launch/variables.ts';
import { alone, type World } from '../../../src/dist/world.ts';

const torchrun = {
  RANK: '5',
  WORLD_SIZE: '8',
  LOCAL_RANK: '1',
  LOCAL_WORLD_SIZE: '4',
  MASTER_ADDR: 'node0',
  MASTER_PORT: '29500',
};
const slurm = {
  SLURM_JOB_ID: '4711',
  SLURM_STEP_ID: '0',
  SLURM_PROCID: '3',
  SLURM_LOCALID: '1',
  SLURM_NODEID: '1',
  SLURM_NTASKS: '5',
  SLURM_STEP_NODELIST: 'gpu[007-008,12]',
  SLURM_STEP_TASKS_PER_NODE: '2(x2),1',
};
const openMpi = {
  OMPI_COMM_WORLD_RANK: '1',
  OMPI_COMM_WORLD_SIZE: '2',
  OMPI_COMM_WORLD_LOCAL_RANK: '1',
  OMPI_COMM_WORLD_LOCAL_SIZE: '2',
};
const without = (env: Environment, ...names: string[]): Environment =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !names.includes(name)));
const meeting = (host: string, port: number, external = false) => ({ rendezvous: { host, port, external } });

const known: readonly [what: string, env: Environment, world: Partial<World>][] = [
  ['nothing', { PATH: '/bin' }, alone],
  ['empty variables', { RANK: '', WORLD_SIZE: ' ' }, alone],
  [
    'torchrun',
    torchrun,
    { launcher: 'torchrun', rank: 5, size: 8, localRank: 1, localSize: 4, ...meeting('node0', 29500) },
  ],
  [
    "torchrun's own store",
    { ...torchrun, TORCHELASTIC_USE_AGENT_STORE: 'True' },
    { ...meeting('node0', 29500, true), rank: 5 },
  ],
  [
    'torchrun after restarts',
    { ...torchrun, TORCHELASTIC_RESTART_COUNT: '2' },
    { rendezvous: { host: 'node0', port: 29500, external: false, attempt: 2 } },
  ],
  ['torchrun without its store', { ...torchrun, TORCHELASTIC_USE_AGENT_STORE: 'False' }, meeting('node0', 29500)],
  ['one rank', { RANK: '0', WORLD_SIZE: '1' }, { launcher: 'torchrun', size: 1, rendezvous: null }],
  [
    'tierra run',
    { ...torchrun, RANK: '0', LOCAL_RANK: '0', TIERRA_LAUNCHER: 'run', TIERRA_STORE_FD: '3' },
    { launcher: 'tierra', rendezvous: { host: 'node0', port: 29500, external: false, listenFd: 3 } },
  ],
  ['torchrun inside a Slurm step', { ...slurm, ...torchrun }, { launcher: 'torchrun', rank: 5, size: 8 }],
  [
    'srun',
    slurm,
    {
      launcher: 'slurm',
      rank: 3,
      size: 5,
      localRank: 1,
      localSize: 2,
      rendezvous: expect.objectContaining({ host: 'gpu007' }),
    },
  ],
  [
    'the last node of a Slurm step',
    { ...slurm, SLURM_PROCID: '4', SLURM_LOCALID: '0', SLURM_NODEID: '2' },
    { localSize: 1 },
  ],
  ['Slurm with a place to meet', { ...slurm, MASTER_ADDR: 'here', MASTER_PORT: '1234' }, meeting('here', 1234)],
  [
    'Slurm that was asked for tasks per node',
    { ...without(slurm, 'SLURM_STEP_TASKS_PER_NODE'), SLURM_NTASKS_PER_NODE: '4' },
    { localSize: 4 },
  ],
  ['a step smaller than its job', { ...slurm, SLURM_NTASKS: '64', SLURM_STEP_NUM_TASKS: '5' }, { size: 5 }],
  [
    'a batch script of one task',
    { SLURM_JOB_ID: '1', SLURM_PROCID: '0', SLURM_NTASKS: '1', SLURM_LOCALID: '0' },
    { launcher: 'slurm', size: 1, rendezvous: null },
  ],
  ['a shell of salloc', { SLURM_JOB_ID: '1', SLURM_NTASKS: '8', SLURM_NODELIST: 'a[1-2]' }, alone],
  [
    'mpirun',
    { ...openMpi, PMIX_NAMESPACE: 'prterun-h-1@1' },
    {
      launcher: 'openmpi',
      rank: 1,
      size: 2,
      localRank: 1,
      localSize: 2,
      rendezvous: expect.objectContaining({ host: '127.0.0.1' }),
    },
  ],
  [
    'mpirun on several nodes',
    { ...openMpi, OMPI_COMM_WORLD_SIZE: '4', MASTER_ADDR: 'worker-0', MASTER_PORT: '29500' },
    { size: 4, localSize: 2, ...meeting('worker-0', 29500) },
  ],
  [
    "mpirun in a Slurm batch script, whose variables are the script's",
    { ...slurm, ...openMpi, SLURM_PROCID: '0', OMPI_COMM_WORLD_SIZE: '4' },
    { launcher: 'openmpi', rank: 1, rendezvous: expect.objectContaining({ host: 'gpu007' }) },
  ],
  [
    'the PyTorch operator',
    { ...without(torchrun, 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'), KUBERNETES_SERVICE_HOST: '10.0.0.1' },
    { launcher: 'kubernetes', rank: 5, size: 8, localRank: 0, localSize: 1, ...meeting('node0', 29500) },
  ],
  [
    'an indexed Job',
    { JOB_COMPLETION_INDEX: '2', WORLD_SIZE: '4', MASTER_ADDR: 'job-0.job', MASTER_PORT: '29500' },
    { launcher: 'kubernetes', rank: 2, size: 4, localRank: 0, localSize: 1, ...meeting('job-0.job', 29500) },
  ],
  ['an indexed Job of pods by themselves', { JOB_COMPLETION_INDEX: '2' }, alone],
  [
    'Kubeflow Trainer',
    { PET_NODE_RANK: '1', PET_NNODES: '2', PET_NPROC_PER_NODE: '1', PET_MASTER_ADDR: 'n0', PET_MASTER_PORT: '29400' },
    { launcher: 'kubernetes', rank: 1, size: 2, ...meeting('n0', 29400) },
  ],
];

test.each(known)('%s', (_what, env, world) => {
  expect(worldFromEnvironment(env)).toMatchObject(world);
});

const wrong: readonly [env: Environment, ...words: string[]][] = [
  [without(torchrun, 'MASTER_ADDR', 'MASTER_PORT'), 'RANK=5 WORLD_SIZE=8', 'MASTER_ADDR, MASTER_PORT are not set'],
  [without(torchrun, 'RANK'), 'WORLD_SIZE=8', 'RANK is not set'],
  [without(torchrun, 'WORLD_SIZE'), 'WORLD_SIZE is not set'],
  [without(torchrun, 'LOCAL_RANK'), 'LOCAL_RANK is not set'],
  [{ ...torchrun, RANK: '8' }, 'rank 8 of 8 ranks'],
  [{ ...torchrun, LOCAL_RANK: '4' }, 'local rank 4 of 4'],
  [{ ...torchrun, LOCAL_WORLD_SIZE: '9' }, '9 ranks on this node, but 8 in all'],
  [{ ...torchrun, RANK: 'one' }, 'RANK=one is not a whole number'],
  [{ ...torchrun, RANK: '-1' }, 'RANK=-1'],
  [{ ...torchrun, MASTER_PORT: '70000' }, 'MASTER_PORT=70000 is not a port'],
  [{ ...slurm, SLURM_STEP_NODELIST: 'gpu[3-1]' }, 'SLURM_STEP_NODELIST=gpu[3-1]'],
  [{ ...slurm, SLURM_STEP_TASKS_PER_NODE: '2x2' }, 'SLURM_STEP_TASKS_PER_NODE=2x2'],
  [{ ...slurm, SLURM_NODEID: '3' }, 'SLURM_NODEID=3', 'describes 3 nodes'],
  [without(slurm, 'SLURM_LOCALID'), 'SLURM_LOCALID is not set'],
  [without(slurm, 'SLURM_JOB_ID'), 'SLURM_JOB_ID is not set'],
  [without(slurm, 'SLURM_STEP_ID'), 'SLURM_NTASKS=5', 'srun does not'],
  [without(openMpi, 'OMPI_COMM_WORLD_SIZE'), 'Open MPI', 'OMPI_COMM_WORLD_SIZE is not set'],
  [{ ...openMpi, OMPI_COMM_WORLD_SIZE: '4' }, 'MASTER_ADDR'],
  [{ JOB_COMPLETION_INDEX: '1', WORLD_SIZE: '4' }, 'MASTER_ADDR, MASTER_PORT are not set'],
  [
    { PET_NODE_RANK: '0', PET_NNODES: '2', PET_NPROC_PER_NODE: '8', PET_MASTER_ADDR: 'a', PET_MASTER_PORT: '1' },
    'PET_NPROC_PER_NODE=8',
  ],
  [{ PET_NODE_RANK: '0' }, 'PET_NNODES, PET_MASTER_ADDR, PET_MASTER_PORT are not set'],
];

test.each(wrong)('refuses %o', (env, ...words) => {
  try {
    worldFromEnvironment(env);
    expect.unreachable();
  } catch (error) {
    expect(isTierraError(error, 'E_LAUNCH')).toBe(true);
    for (const word of words) expect((error as Error).message).toContain(word);
  }
});

describe('ports without a launcher that offers one', () => {
  const portOf = (env: Environment) => worldFromEnvironment(env).rendezvous!.port;

  it('are the same in all ranks of a job and lie below those of outgoing connections', () => {
    const port = portOf(slurm);
    expect(portOf({ ...slurm, SLURM_PROCID: '0', SLURM_LOCALID: '0', SLURM_NODEID: '0' })).toBe(port);
    expect(port).toBeGreaterThanOrEqual(10_000);
    expect(port).toBeLessThan(30_000);
  });

  it('differ between jobs, steps and mpiruns', () => {
    const jobs = [slurm, { ...slurm, SLURM_JOB_ID: '4712' }, { ...slurm, SLURM_STEP_ID: '1' }];
    const mpi = ['a@1', 'b@1'].map((PMIX_NAMESPACE) => ({ ...openMpi, PMIX_NAMESPACE }));
    expect(new Set([...jobs, ...mpi].map(portOf)).size).toBe(5);
  });
});

test.each([
  ['a', ['a']],
  ['a,b', ['a', 'b']],
  ['node[01-03,7],login', ['node01', 'node02', 'node03', 'node7', 'login']],
  ['n[9-11]', ['n9', 'n10', 'n11']],
  ['r[1-2]n[1,3]-ib', ['r1n1-ib', 'r1n3-ib', 'r2n1-ib', 'r2n3-ib']],
])('nodes of %s', (list, nodes) => {
  expect(nodesOf(list)).toEqual(nodes);
});

test.each(['', 'a,', 'a[1', 'a]1', 'a[]', 'a[1-]', 'a[x]', 'a b', 'a;rm', 'a[1-999999999]', 'a[1-9999]b[1-9999]'])(
  'no nodes in %j',
  (list) => {
    expect(() => nodesOf(list)).toThrow('cannot read');
  },
);
