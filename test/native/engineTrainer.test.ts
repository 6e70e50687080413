/** The trainer: the order of its hooks, stopping, errors, data of one's own. */
import { describe, expect, it } from 'vitest';
import { fromIndexable, fromIterable } from '../../src/data/index.ts';
import { criterionTask, type Hook, type StepSummary, Trainer } from '../../src/engine/index.ts';
import { native } from '../../src/native/load.ts';
import { ops, type Tensor } from '../../src/tensor/index.ts';
import { problem, startMlp } from './engineSupport.ts';

interface Pair {
  readonly input: Tensor;
  readonly label: Tensor;
}

const pairs = (count: number): Pair[] => Array.from({ length: count }, (_, index) => problem(2, index));
const free = (data: readonly Pair[]): void => {
  for (const { input, label } of data) {
    input.dispose();
    label.dispose();
  }
};
const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

/** A hook that writes down every call. */
function recording(log: string[], name = ''): Required<Omit<Hook, 'onNonFinite'>> {
  const note = (text: string) => async (): Promise<void> => {
    await pause();
    log.push(`${name}${text}`);
  };
  return {
    beforeTrain: note('train'),
    afterTrain: note('trained'),
    beforeEpoch: (_, epoch) => note(`epoch ${epoch}`)(),
    afterEpoch: (_, epoch) => note(`epoch ${epoch} done`)(),
    beforeStep: note('step'),
    afterStep: (_, { step }) => note(`step ${step} done`)(),
  };
}

describe('hooks', () => {
  it('are called in order, one after another, and waited for', async () => {
    const samples = pairs(4);
    const { engine } = startMlp({ train: { accumulate: 2 } });
    const log: string[] = [];
    const data = fromIndexable(samples, { shuffle: false });
    await new Trainer({
      engine,
      task: criterionTask(),
      data,
      totalSteps: 4,
      hooks: [recording(log), { afterStep: (_, { step }) => void log.push(`second hook ${step}`) }],
    }).fit();
    const steps = (from: number): string[] =>
      [from, from + 1].flatMap((step) => ['step', `step ${step} done`, `second hook ${step}`]);
    expect(log).toEqual([
      'train',
      'epoch 0',
      ...steps(1),
      'epoch 0 done',
      'epoch 1',
      ...steps(3),
      'epoch 1 done',
      'trained',
    ]);
    engine.dispose();
    free(samples);
  });

  it('see every step with its loss, learning rate, norm and samples', async () => {
    const samples = pairs(3);
    const { engine } = startMlp({ train: { accumulate: 3, clipNorm: 0.01 } });
    const seen: StepSummary[] = [];
    const data = fromIndexable(samples, { shuffle: false });
    const hooks: Hook[] = [{ afterStep: (_, summary) => void seen.push(summary) }];
    await new Trainer({ engine, task: criterionTask(({ input }) => input.size(0)), data, totalSteps: 2, hooks }).fit();
    engine.dispose();
    const { engine: other } = startMlp();
    const losses = samples.map(({ input, label }) => {
      other.eval();
      return other.criterion(other.forward(input), label).item();
    });
    expect(seen[0]!.loss).toBe(losses.reduce((sum, loss) => sum + loss, 0) / 3);
    expect(seen[0]).toMatchObject({ step: 1, tokens: 6, epoch: 0, nonFinite: null });
    expect(seen[0]!.gradientNorm).toBeGreaterThan(0.01);
    expect(seen[0]!.clipFactor).toBeCloseTo(0.01 / seen[0]!.gradientNorm, 10);
    expect(seen[1]).toMatchObject({ step: 2, epoch: 1 });
    expect(seen[1]!.learningRate).not.toBe(seen[0]!.learningRate);
    other.dispose();
    free(samples);
  });

  it('may stop training, and a stopped trainer can go on', async () => {
    const samples = pairs(4);
    const { engine } = startMlp();
    const log: string[] = [];
    const stopAt3: Hook = { afterStep: (trainer, { step }) => step === 3 && trainer.stop() } as Hook;
    const data = fromIndexable(samples, { shuffle: false });
    const trainer = new Trainer({
      engine,
      task: criterionTask(),
      data,
      totalSteps: 5,
      hooks: [stopAt3, recording(log)],
    });
    await trainer.fit();
    expect(engine.steps).toBe(3);
    expect(trainer.interrupted).toBe(true);
    expect(log.at(-1)).toBe('trained');
    await trainer.fit();
    expect(engine.steps).toBe(5);
    expect(trainer.interrupted).toBe(false);
    engine.dispose();
    free(samples);
  });

  it('that throw end training; the engine stays usable and nothing leaks', async () => {
    const samples = pairs(4);
    const { engine } = startMlp({ train: { accumulate: 2 } });
    const run = (hooks: Hook[], totalSteps: number): Promise<void> =>
      new Trainer({ engine, task: criterionTask(), data: fromIndexable(samples), totalSteps, hooks }).fit();
    await run([], 1);
    const live = native().liveTensors();
    for (const name of Object.keys(recording([])) as (keyof Hook)[]) {
      const late: string[] = [];
      const broken: Hook = { [name]: () => Promise.reject(new Error(`${name} broke`)) };
      await expect(run([broken, { afterTrain: () => void late.push('ran') }], engine.steps + 4)).rejects.toThrow(name);
      expect(late).toEqual([]);
      expect(native().liveTensors(), name).toBe(live);
    }
    const before = engine.steps;
    await run([], before + 1);
    expect(engine.steps).toBe(before + 1);
    engine.dispose();
    free(samples);
  });
});

describe('signals', () => {
  it('stop after the step under way, or before the first', async () => {
    const samples = pairs(4);
    const { engine } = startMlp();
    const controller = new AbortController();
    const hooks: Hook[] = [{ beforeStep: () => void (engine.steps === 2 && controller.abort()) }];
    const options = { engine, task: criterionTask(), totalSteps: 10, signal: controller.signal };
    const trainer = new Trainer({ ...options, data: fromIndexable(samples), hooks });
    await trainer.fit();
    expect(engine.steps).toBe(3);
    expect(trainer.interrupted).toBe(true);
    await trainer.fit();
    expect(engine.steps).toBe(3);
    engine.dispose();
    free(samples);
  });
});

describe('data of one’s own', () => {
  it('comes from a generator that makes its tensors as it goes: they end with their step', async () => {
    const { engine } = startMlp({ train: { accumulate: 2 } });
    const fresh = async function* (): AsyncGenerator<Pair> {
      for (let index = 0; index < 6; index++) {
        await pause();
        yield { input: ops.full([2, 6], index), label: ops.full([2, 3], 1) };
      }
    };
    const live: number[] = [];
    const hooks: Hook[] = [{ afterStep: () => void live.push(native().liveTensors()) }];
    const data = fromIterable(fresh);
    const trainer = new Trainer<Pair>({ engine, task: criterionTask(), data, totalSteps: 7, hooks });
    await trainer.fit();
    expect(new Set(live.slice(1)).size).toBe(1);
    const before = native().liveTensors();
    const loss = await trainer.evaluate(fromIterable(fresh), 4);
    expect(Number.isFinite(loss)).toBe(true);
    expect(native().liveTensors()).toBe(before);
    expect(engine.model.training).toBe(true);
    engine.dispose();
  });

  it('that fails in the middle of a step ends training and clears up', async () => {
    const { engine } = startMlp({ train: { accumulate: 2 } });
    const live = native().liveTensors();
    const broken = function* (): Generator<Pair> {
      yield { input: ops.ones([2, 6]), label: ops.ones([2, 3]) };
      throw new Error('the disk is gone');
    };
    const trainer = new Trainer<Pair>({ engine, task: criterionTask(), data: fromIterable(broken), totalSteps: 2 });
    await expect(trainer.fit()).rejects.toThrow('the disk is gone');
    expect(native().liveTensors()).toBe(live);
    expect(engine.steps).toBe(0);
    engine.dispose();
  });
});
