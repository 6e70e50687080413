/** Whole runs of the command line: stopped, killed, resumed, generated from. */
import { appendFileSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { sentences } from './sentences.ts';
import { lossesIn, project, run, runHere, start, statesOf } from './trainProcess.ts';

const train = ['train', 'run.yaml'];

describe('a run in a process of its own', () => {
  it('goes on bit for bit after Ctrl-C, and after being killed while saving', async () => {
    const [whole, stopped, killed] = [project(), project(), project()];
    const full = await run(whole, train);
    expect(full).toMatchObject({ code: 0, stderr: '' });
    expect(Object.keys(lossesIn(full.stdout))).toHaveLength(12);

    const first = start(stopped, train);
    await first.seen(/^step +3\/12/m);
    first.child.kill('SIGINT');
    const interrupted = await first.ended;
    expect(interrupted).toMatchObject({ code: 130, stderr: '' });
    const at = Number(/stopped at step (\d+) .*checkpoint (\S+)/.exec(interrupted.stdout)?.[1]);
    expect(at).toBeGreaterThanOrEqual(3);
    expect(at).toBeLessThan(12);
    expect(interrupted.stdout).toContain('the same command goes on from here');
    const second = await run(stopped, train);
    expect(second).toMatchObject({ code: 0, stderr: '' });
    expect(second.stdout).toContain(`(step ${at})`);
    expect({ ...lossesIn(interrupted.stdout), ...lossesIn(second.stdout) }).toEqual(lossesIn(full.stdout));
    expect(statesOf(path.join(stopped, 'out'), 12)).toEqual(statesOf(path.join(whole, 'out'), 12));

    const died = await run(killed, train, { TIERRA_FAULT: 'checkpoint.K5:kill@k=2' });
    expect(died.signal).toBe('SIGKILL');
    const third = await run(killed, train);
    expect(third).toMatchObject({ code: 0, stderr: '' });
    expect(third.stdout).toContain('(step 5)');
    expect(third.stdout).toContain('is dead');
    expect(statesOf(path.join(killed, 'out'), 12)).toEqual(statesOf(path.join(whole, 'out'), 12));
  });

  it('quits at once on the second Ctrl-C', async () => {
    const folder = project();
    const slow = ['--set', 'train.batchSize=64', '--set', 'data.sequenceLength=64', '--set', 'model.config.n_embd=64'];
    const running = start(folder, [
      ...train,
      ...slow,
      '--set',
      'train.accumulate=8',
      '--set',
      'data.validationFraction=0',
    ]);
    await running.seen(/^step +1\/12/m);
    running.child.kill('SIGINT');
    await new Promise((resolve) => setTimeout(resolve, 50));
    running.child.kill('SIGINT');
    const ended = await running.ended;
    expect(ended.code).toBe(130);
    expect(ended.stdout).not.toContain('stopped at');
    expect(existsSync(path.join(folder, 'out', 'checkpoints'))).toBe(false);
  });
});

describe('a run in this process', () => {
  it('says that it is finished, goes on for longer, and starts afresh without losing the old checkpoints', async () => {
    const folder = project();
    await runHere(folder, train);
    const again = await runHere(folder, train);
    expect(again).toMatchObject({ code: 0, stderr: '' });
    expect(again.stdout).toContain('small has done its 12 steps already: out/checkpoints/step-00000012');
    expect(again.stdout).toContain('--set train.resume=never');
    expect(lossesIn(again.stdout)).toEqual({});

    const longer = await runHere(folder, [...train, '--set', 'train.steps=14']);
    expect(longer.code).toBe(0);
    expect(Object.keys(lossesIn(longer.stdout))).toEqual(['13', '14']);
    expect(longer.stdout).toContain('the run is 14 steps long now, 12 before');

    const afresh = await runHere(folder, [...train, '--set', 'train.resume=never']);
    expect(afresh).toMatchObject({ code: 0, stderr: '' });
    expect(Object.keys(lossesIn(afresh.stdout))).toHaveLength(12);
    expect(afresh.stdout).toContain('out/checkpoints.1');
    expect(readdirSync(path.join(folder, 'out', 'checkpoints.1'))).toContain('step-00000014');
    expect(readdirSync(path.join(folder, 'out', 'checkpoints'))).toContain('step-00000012');
  });

  it('refuses to resume what does not fit, and says what changed', async () => {
    const folder = project();
    await runHere(folder, [...train, '--set', 'train.steps=5']);
    const refused = async (...sets: string[]): Promise<string> => {
      const { code, stderr } = await runHere(folder, [...train, ...sets.flatMap((set) => ['--set', set])]);
      expect(code).toBe(1);
      return stderr;
    };
    expect(await refused('model.config.n_head=4')).toContain('of another model: n_head was 2, is now 4');
    expect(await refused('model.config.n_layer=1')).toContain('n_layer was 2, is now 1');
    expect(await refused('optimizer.name=lion')).toContain("holds the state of adamw, this run's optimizer is lion");
    expect(await refused('precision=bf16')).toMatch(/is F32 .*this run needs BF16/);
    expect(await refused('data.sequenceLength=16')).toContain('data.sequenceLength was 32, is now 16');
    expect(await refused('seed=9')).toMatch(/seed was \d+, is now 9/);
    appendFileSync(path.join(folder, 'corpus.txt'), sentences(20, 9));
    const changed = await refused();
    expect(changed).toContain('was trained on other data');
    expect(changed).toContain('the content of the files is not');
    expect(changed).toContain('train.resume: never');
    expect(await refused('train.resume=nowhere')).toContain('nowhere');
  });

  it('names what is missing', async () => {
    const folder = project();
    writeFileSync(path.join(folder, 'empty.txt'), '');
    const failed = async (...sets: string[]): Promise<string> => {
      const { code, stderr } = await runHere(folder, [...train, ...sets.flatMap((set) => ['--set', set])]);
      expect(code).toBe(1);
      expect(stderr).not.toMatch(/^\s+at /m);
      return stderr;
    };
    expect(await failed('data.train=[]')).toContain('data.train: no training data');
    expect(await failed('data.train=none.txt')).toContain('none.txt');
    expect(await failed('data.train=empty.txt')).toContain('the corpus is empty');
    expect(await failed('data.sequenceLength=100')).toContain('data.sequenceLength is 100, the model has 64 positions');
    expect(await failed('data.tokenizer=missing.json')).toContain('missing.json');
    expect(await failed('model=null')).toContain('model: nothing to train');
  });
});

describe('tierra generate', () => {
  it('reads a run, a checkpoint and a Hugging Face folder alike, the same text for the same seed', async () => {
    const folder = project();
    await runHere(folder, train);
    const generate = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await runHere(folder, ['generate', ...args]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      return stdout;
    };
    const options = ['--prompt', 'tensor chunk', '--tokens', '20', '--seed', '7'];
    const checkpoint = 'out/checkpoints/step-00000012';
    const text = await generate('out', ...options);
    expect(text.startsWith('tensor chunk')).toBe(true);
    expect(text.length).toBeGreaterThan('tensor chunk'.length + 5);
    expect(await generate(checkpoint, ...options)).toBe(text);
    expect(await generate(`${checkpoint}/model`, ...options)).toBe(text);
    expect(await generate('out', '--prompt', 'tensor chunk', '--tokens', '20', '--seed', '8')).not.toBe(text);
    const greedy = ['--prompt', 'tensor chunk', '--tokens', '20', '--temperature', '0'];
    expect(await generate('out', ...greedy, '--seed', '1')).toBe(await generate('out', ...greedy, '--seed', '2'));

    const long = await runHere(folder, ['generate', 'out', '--prompt', 'x'.repeat(65)]);
    expect(long).toMatchObject({ code: 1, stderr: expect.stringContaining('the prompt has 65 tokens') });
    const nothing = await runHere(folder, ['generate', 'cache']);
    expect(nothing).toMatchObject({ code: 1, stderr: expect.stringContaining('no model here') });
  });
});
