/** `tierra run` of one configuration over several axes: the figures of one process, and a checkpoint that another mesh goes on from. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { type Ended, lossesIn, project, run } from './trainProcess.ts';

const mixtral = `
  architecture: mixtral
  config: { hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2,
            num_local_experts: 4, max_position_embeddings: 64, sliding_window: null }
`;

const llama = `
  architecture: llama
  config: { hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2,
            max_position_embeddings: 64 }
`;

const mixtralProject = (): string => projectOf(mixtral);
const llamaProject = (): string => projectOf(llama);

/** Without dropout, which no two meshes would draw alike. */
function projectOf(model: string): string {
  const folder = project();
  const file = path.join(folder, 'run.yaml');
  const text = readFileSync(file, 'utf8')
    .replace(/model:\n.*\n.*\n/, `model:${model}`)
    .replace(/groups: .*\]/, 'groups: []');
  writeFileSync(file, text.replace('batchSize: 2,', 'batchSize: 4,').replace('saveEvery: 5', 'saveEvery: 3'));
  return folder;
}

/** `step → loss on the validation set`. */
const evaluationsIn = (stdout: string): Record<string, string> =>
  Object.fromEntries(
    Array.from(stdout.matchAll(/step (\d+): evaluation loss (\S+)/g), ([, step, loss]) => [step, loss]),
  );

/** What was written at the end. */
const sampleIn = (stdout: string): string => stdout.split('a sample of what it learned:')[1]!.split('finished')[0]!;

describe.skipIf(!nativeIsBuilt())('tierra run', () => {
  it('trains, evaluates, saves and samples under sp and ep, and goes on under pp', async () => {
    const [alone, divided] = [mixtralProject(), mixtralProject()];
    const sets = (...values: string[]): string[] =>
      ['precision=fp64', 'schedule.name=constant', 'schedule.warmupSteps=0', ...values].flatMap((set) => [
        '--set',
        set,
      ]);
    const serial = await run(alone, ['train', 'run.yaml', ...sets('train.steps=6')]);
    expect(serial).toMatchObject({ code: 0, stderr: '' });
    const onRanks = (ranks: number, ...values: string[]): Promise<Ended> =>
      run(divided, ['run', '-n', String(ranks), '--log-dir', 'logs', 'run.yaml', ...sets(...values)]);
    const first = await onRanks(
      4,
      'train.steps=3',
      'parallel.sp=2',
      'parallel.ep=2',
      'parallel.zero=3',
      'sample.tokens=4',
    );
    expect(first).toMatchObject({ code: 0, stderr: '' });
    const second = await onRanks(2, 'train.steps=6', 'parallel.pp=2');
    expect(second).toMatchObject({ code: 0, stderr: '' });
    const losses = lossesIn(serial.stdout);
    expect(Object.keys(losses)).toHaveLength(6);
    expect({ ...lossesIn(first.stdout), ...lossesIn(second.stdout) }).toEqual(losses);
    expect(first.stdout).toContain('a sample of what it learned');
    const evaluations = evaluationsIn(serial.stdout);
    expect(Object.keys(evaluations)).toEqual(['0', '4', '6']);
    expect(evaluationsIn(first.stdout)['0']).toBe(evaluations['0']);
    expect(evaluationsIn(second.stdout)).toEqual({ 4: evaluations['4'], 6: evaluations['6'] });
  });

  it('trains, evaluates, saves and samples in blocks over a square', async () => {
    const [alone, divided] = [llamaProject(), llamaProject()];
    const fixed = ['precision=fp64', 'schedule.name=constant', 'schedule.warmupSteps=0', 'train.steps=2'];
    const sets = [...fixed, 'sample.tokens=6', 'sample.temperature=0'].flatMap((set) => ['--set', set]);
    const serial = await run(alone, ['train', 'run.yaml', ...sets]);
    const squared = ['--set', 'parallel.tp=4', '--set', 'parallel.tensor=2d'];
    const blocks = await run(divided, ['run', '-n', '4', '--log-dir', 'logs', 'run.yaml', ...sets, ...squared]);
    for (const ended of [serial, blocks]) expect(ended).toMatchObject({ code: 0, stderr: '' });
    expect(Object.keys(lossesIn(serial.stdout))).toHaveLength(2);
    expect(lossesIn(blocks.stdout)).toEqual(lossesIn(serial.stdout));
    expect(Object.keys(evaluationsIn(serial.stdout))).toEqual(['0', '2']);
    expect(evaluationsIn(blocks.stdout)).toEqual(evaluationsIn(serial.stdout));
    // One sequence, which half of the ranks have: the likeliest tokens are the same.
    expect(sampleIn(serial.stdout)).toContain('tensor ');
    expect(sampleIn(blocks.stdout)).toBe(sampleIn(serial.stdout));
    const exported = await run(divided, ['checkpoint', 'export', 'out', 'hf']);
    expect(exported).toMatchObject({ code: 0, stderr: '' });
  });

  it('refuses what cannot be, with the numbers', async () => {
    const folder = project();
    const refused = async (ranks: number, ...values: string[]): Promise<string> => {
      const { code, stderr, stdout } = await run(folder, [
        ...['run', '-n', String(ranks), 'run.yaml'],
        ...values.flatMap((set) => ['--set', set]),
      ]);
      expect(code).not.toBe(0);
      return stderr + stdout;
    };
    expect(await refused(2, 'parallel.ep=2')).toContain(
      'parallel.ep: 2 ranks would share the experts of a model that has none',
    );
    expect(await refused(8, 'parallel.tp=8', 'parallel.tensor=3d', 'train.batchSize=6')).toContain(
      'train.batchSize: 6 sequences cannot be cut into 4 equal parts',
    );
    expect(await refused(2, 'parallel.sp=3')).toContain('data.sequenceLength 32 % 6 = 2');
  });
});
