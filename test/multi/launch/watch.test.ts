/** Ranks that die, fall silent, fail or stand still: the others leave, and say who it was. */
import { expect, it } from 'vitest';
import { compiled, program } from '../../compiled.ts';
import { linesOf, type Running, scratch, start, tierra, until } from './support.ts';

const source = 'test/multi/launch/watchedRank.ts';
const file = compiled(source);

/** Ranks without any launcher's help: what torchrun would set, and nobody who stops them. */
function ranks(count: number, misfortune: string, victim: number, env: Record<string, string> = {}): Running[] {
  const folder = scratch();
  return Array.from({ length: count }, (_, rank) =>
    start([...program(source), folder, misfortune, String(victim)], {
      RANK: String(rank),
      WORLD_SIZE: String(count),
      LOCAL_RANK: String(rank),
      LOCAL_WORLD_SIZE: String(count),
      MASTER_ADDR: '127.0.0.1',
      MASTER_PORT: '1',
      ...env,
    }),
  );
}

const cases: readonly [misfortune: string, victim: number, message: RegExp, env?: Record<string, string>][] = [
  ['kill', 2, /rank 2 \(process \d+ on \S+\) died, step 12, unit blocks\.3\n/],
  ['kill', 0, /rank 0 \(process \d+ on \S+\) died, step 12, unit blocks\.3\n/],
  ['stop', 1, /rank 1 \(process \d+ on \S+\) has not been heard of for \d+ s, step 12, unit blocks\.3\n/],
  ['stop', 0, /rank 0 \(process \d+ on \S+\) has not been heard of for \d+ s, step 12, unit blocks\.3\n/],
  [
    'throw',
    1,
    /rank 1 \(process \d+ on \S+\) failed with exit code 1, step 12, unit blocks\.3: Error: something of its own\n/,
  ],
  [
    'throw',
    0,
    /rank 0 \(process \d+ on \S+\) failed with exit code 1, step 12, unit blocks\.3: Error: something of its own\n/,
  ],
  [
    'spin',
    1,
    /rank 1 \(process \d+ on \S+\) has done nothing for \d+ s while rank \d waits for it in allReduce of "all", step 12, unit blocks\.3\n/,
    { TIERRA_STALL_SECONDS: '3' },
  ],
];

it.each(cases)('%s of rank %i', async (misfortune, victim, message, env) => {
  const started = ranks(3, misfortune, victim, env);
  const others = await Promise.all(started.filter((_, rank) => rank !== victim).map(({ ended }) => ended));
  for (const { code, signal, err } of others) {
    expect(err).toMatch(message);
    expect({ code, signal }).toEqual({ code: null, signal: 'SIGKILL' });
  }
});

it('ranks that end well, one after the other, are no loss', async () => {
  const ended = await Promise.all(ranks(3, 'none', -1).map((rank) => rank.ended));
  expect(ended.map(({ code, err }) => ({ code, err }))).toEqual(
    Array.from({ length: 3 }, () => ({ code: 0, err: '' })),
  );
});

it('tierra run ends with the code of the rank that died, not of those that left because of it', async () => {
  const job = tierra(['run', '-n', '3', file, scratch(), 'kill', '1']);
  const { code, err } = await job.ended;
  expect(code).toBe(137);
  expect(err).toContain('tierra run: rank 1 ended with SIGKILL');
});

it('a rank whose agent is killed ends too', async () => {
  const job = tierra(['run', '-n', '2', file, scratch(), 'wait', '-1']);
  await job.seen(/pid[\s\S]*pid/);
  const pids = Object.values(linesOf(job.out)).map(([line]) => Number(line!.split(' ')[1]));
  const { execFileSync } = await import('node:child_process');
  const agent = Number(execFileSync('ps', ['-o', 'ppid=', '-p', String(pids[0])], { encoding: 'utf8' }));
  process.kill(agent, 'SIGKILL');
  const { code, err } = await job.ended;
  expect(code).toBe(1);
  expect(err).toContain('host localhost is lost');
  const { isAlive } = await import('./support.ts');
  await until(() => !pids.some(isAlive), 'ranks gone with their agent');
});
