/** The examples as they are written, in fewer steps, in processes of their own. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/index.ts';
import { parseBytes } from '../../src/core/units.ts';
import { lossesIn, run, scratch } from './trainProcess.ts';

const root = path.resolve(import.meta.dirname, '../..');
const example = (name: string): string => path.join(root, 'examples', name, 'config.yaml');

/** Runs an example from the repository's root, but writes everything into `folder`. */
function train(
  folder: string,
  name: string,
  sets: readonly string[],
  command: readonly string[] = ['train'],
): ReturnType<typeof run> {
  const all = [
    ...[`train.output=${path.join(folder, 'out')}`, `data.cache=${path.join(folder, 'cache')}`],
    ...['data.maxBytes=300KiB', 'train.logEvery=1', 'train.evaluateEvery=null', 'train.evaluateBatches=1'],
    ...['train.saveEvery=null', 'sample.tokens=4', 'runtime.threads=2', 'runtime.optimizerThreads=2'],
    ...sets,
  ];
  return run(root, [...command, example(name), ...all.flatMap((set) => ['--set', set])]);
}

describe('examples/01-first-run', () => {
  it('trains in the same figures with its memory section and without', async () => {
    const sets = ['train.steps=4'];
    const folders = [scratch(), scratch()] as const;
    const swap = path.join(folders[0], 'swap');
    const tiers = await train(folders[0], '01-first-run', [...sets, `memory.nvme.path=${swap}`]);
    expect(tiers).toMatchObject({ code: 0, stderr: '' });
    expect(tiers.stdout).toMatch(/^plan: parameters .*cpu; states .*disk/m);
    expect(tiers.stdout).toMatch(
      /^step 4\/4 .* gpu \S+ MiB of 13\.0 MiB {2}cpu \S+ MiB of 6\.0 MiB {2}disk \S+ MiB of 64\.0 MiB$/m,
    );
    const resident = await train(folders[1], '01-first-run', [...sets, 'memory.policy=off']);
    expect(resident).toMatchObject({ code: 0, stderr: '' });
    expect(Object.keys(lossesIn(tiers.stdout))).toHaveLength(4);
    expect(lossesIn(tiers.stdout)).toEqual(lossesIn(resident.stdout));
  });

  it('needs more than its memory.gpu and its memory.cpu', () => {
    const { memory } = loadConfig(example('01-first-run'), []);
    const parameters = 803_840;
    expect(memory.gpu).toBeLessThan(parameters * 20);
    expect(memory.cpu).toBeLessThan(parameters * 12);
  });
});

describe('examples/02-bigger-than-memory', () => {
  it('trains a model ten times its memory.gpu within its budgets, and writes the timeline', async () => {
    const folder = scratch();
    const trace = path.join(folder, 'trace.json');
    const ended = await train(folder, '02-bigger-than-memory', [
      ...['train.steps=2', `runtime.trace=${trace}`, `memory.nvme.path=${path.join(folder, 'swap')}`],
    ]);
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    const parameters = Number(/: ([\d.]+)M parameters/.exec(ended.stdout)?.[1]) * 1e6;
    const { memory } = loadConfig(example('02-bigger-than-memory'), []);
    // Parameter, gradient, master weight and two moments, 4 bytes each.
    expect(parameters * 20).toBeGreaterThan(10 * Number(memory.gpu));
    const [, used, budget] = /^step 2\/2 .* gpu (\S+ MiB) of (\S+ MiB)/m.exec(ended.stdout)!;
    expect(parseBytes(budget!)).toBe(memory.gpu);
    expect(parseBytes(used!)).toBeLessThanOrEqual(parseBytes(budget!));
    expect(ended.stdout).toMatch(/^ {2}disk to cpu +/m);
    const events = JSON.parse(readFileSync(trace, 'utf8')) as { name: string; args?: { step?: number } }[];
    expect(new Set(events.map(({ args }) => args?.step))).toContain(2);
    expect(existsSync(path.join(folder, 'out', 'checkpoints'))).toBe(true);
  });
});

describe('examples/03-zero', () => {
  it('trains on two processes in the figures of one, and one goes on from their checkpoint', async () => {
    const folder = scratch();
    const swap = (name: string): string => `memory.nvme.path=${path.join(folder, name)}`;
    const two = await train(folder, '03-zero', ['train.steps=3', swap('a')], ['run', '-n', '2', '--log-dir', folder]);
    expect(two).toMatchObject({ code: 0, stderr: '' });
    expect(two.stdout).toMatch(/^step 3\/3 .* gpu \S+ MiB of 9\.0 MiB {2}cpu \S+ MiB of 4\.0 MiB {2}disk /m);
    // Whole batches need more room than halves.
    const room = ['memory.gpu=14MiB', 'memory.cpu=6MiB', swap('b')];
    const alone = await train(scratch(), '03-zero', ['train.steps=3', ...room]);
    expect(alone).toMatchObject({ code: 0, stderr: '' });
    const [ofTwo, ofOne] = [lossesIn(two.stdout), lossesIn(alone.stdout)];
    expect(Object.keys(ofTwo)).toEqual(['1', '2', '3']);
    for (const [step, loss] of Object.entries(ofOne)) expect(Number(ofTwo[step])).toBeCloseTo(Number(loss), 3);
    const further = await train(folder, '03-zero', ['train.steps=4', ...room]);
    expect(further).toMatchObject({ code: 0, stderr: '' });
    expect(Object.keys(lossesIn(further.stdout))).toEqual(['4']);
  }, 600_000);
});
