/** The same script under every launcher: real ones where they are installed, else with the variables that they set. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { native, nativeIsBuilt } from '../../../src/native/load.ts';
import { program } from '../../compiled.ts';
import { freePort } from '../../freePort.ts';
import { type Ended, start, tierra } from './support.ts';

const file = path.join(import.meta.dirname, 'anywhere.ts');
const script = program(file);

interface Says {
  readonly launcher: string;
  readonly rank: number;
  readonly size: number;
  readonly localRank: number;
  readonly localSize: number;
  readonly sum: number;
}

const resultsOf = (...ends: Ended[]): Says[] =>
  ends
    .flatMap(({ out }) => [...out.matchAll(/RESULT (\{.*\})/g)])
    .map((match) => JSON.parse(match[1]!) as Says)
    .sort((a, b) => a.rank - b.rank);

function expectRanks(ends: readonly Ended[], launcher: string, size: number, local = true): void {
  for (const { code, out, err } of ends) expect({ code, out, err }).toMatchObject({ code: 0 });
  expect(resultsOf(...ends)).toEqual(
    Array.from({ length: size }, (_, rank) =>
      expect.objectContaining({
        launcher,
        rank,
        size,
        localRank: local ? rank : 0,
        localSize: local ? size : 1,
        backend: 'gloo',
        sum: 2 ** size - 1,
      }),
    ),
  );
}

/** One process for each set of variables, as a launcher on several nodes would start them. */
const byHand = (all: readonly Record<string, string>[]): Promise<Ended[]> =>
  Promise.all(all.map((env) => start(script, env).ended));

const onPath = (program: string): boolean =>
  (process.env.PATH ?? '').split(':').some((folder) => existsSync(path.join(folder, program)));

/** What torchrun's Python code needs beside torch, which `.ci/run` puts here: the addon itself does without. */
const pythonEnv = { PYTHONPATH: path.resolve('build/torchrun') };

/** With the Python beside the torch that the addon was built over: a script's first line may name one that has moved. */
function findTorchrun(): string[] | null {
  const libtorch = process.env.TIERRA_LIBTORCH ?? path.resolve('.torch/venv/lib/python3/site-packages/torch');
  const pythons = [path.resolve(libtorch, '../../../../bin/python'), path.resolve('.torch/venv/bin/python'), 'python3'];
  const works = (python: string): boolean =>
    spawnSync(python, ['-c', 'import torch.distributed.run'], { env: { ...process.env, ...pythonEnv } }).status === 0;
  const python = pythons.find(works);
  return python === undefined ? null : [python, '-m', 'torch.distributed.run'];
}

const gloo = nativeIsBuilt() && native().buildInfo.gloo;
const torchrun = findTorchrun();
const skips = {
  all: gloo ? '' : 'the addon has no Gloo',
  torchrun: torchrun === null ? 'no Python here can import torch.distributed.run' : '',
  mpirun: onPath('mpirun') ? '' : 'mpirun is not installed (openmpi-bin)',
};
for (const reason of Object.values(skips)) if (reason !== '') console.log(`skipped: ${reason}`);

describe.skipIf(skips.all !== '')('one script', () => {
  it('as a single process', async () => {
    expectRanks(await byHand([{}]), 'single', 1);
  });

  it('under tierra run, which finds a loader for TypeScript', async () => {
    expectRanks([await tierra(['run', '-n', '2', file]).ended], 'tierra', 2);
  });

  it.skipIf(skips.torchrun !== '')('under torchrun, in its agent’s store', async () => {
    const argv = [
      ...torchrun!,
      '--no-python',
      '--nproc-per-node',
      '2',
      '--rdzv-backend',
      'c10d',
      '--rdzv-endpoint',
      '127.0.0.1:0',
    ];
    expectRanks([await start([...argv, ...script], pythonEnv).ended], 'torchrun', 2);
  });

  it.skipIf(skips.mpirun !== '')('under mpirun', async () => {
    const root = process.getuid?.() === 0 ? ['--allow-run-as-root'] : [];
    const version = execFileSync('mpirun', ['--version'], { encoding: 'utf8' });
    expect(version).toContain('Open MPI');
    const ended = await start(['mpirun', ...root, '--oversubscribe', '-n', '2', ...script]).ended;
    expectRanks([ended], 'openmpi', 2);
  });

  it('with Slurm’s variables', async () => {
    const job = String(process.pid);
    const ranks = [0, 1].map((rank) => ({
      SLURM_JOB_ID: job,
      SLURM_STEP_ID: '0',
      SLURM_NTASKS: '2',
      SLURM_PROCID: String(rank),
      SLURM_LOCALID: String(rank),
      SLURM_NODEID: '0',
      SLURM_STEP_NODELIST: 'localhost',
      SLURM_STEP_TASKS_PER_NODE: '2',
    }));
    expectRanks(await byHand(ranks), 'slurm', 2);
  });

  it('with the variables of Kubernetes’ PyTorch operator, one rank a pod', async () => {
    const port = String(await freePort());
    const pods = [0, 1].map((rank) => ({
      KUBERNETES_SERVICE_HOST: '10.0.0.1',
      RANK: String(rank),
      WORLD_SIZE: '2',
      MASTER_ADDR: '127.0.0.1',
      MASTER_PORT: port,
      GLOO_SOCKET_IFNAME: 'lo',
    }));
    expectRanks(await byHand(pods), 'kubernetes', 2, false);
  });

  it('with the variables of an indexed Job', async () => {
    const port = String(await freePort());
    const pods = [0, 1].map((rank) => ({
      JOB_COMPLETION_INDEX: String(rank),
      WORLD_SIZE: '2',
      MASTER_ADDR: '127.0.0.1',
      MASTER_PORT: port,
      GLOO_SOCKET_IFNAME: 'lo',
    }));
    expectRanks(await byHand(pods), 'kubernetes', 2, false);
  });
});
