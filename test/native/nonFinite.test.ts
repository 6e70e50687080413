/** Infinite and NaN numbers in training: found, named, and treated as `train.nonFinite` says. */
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/index.ts';
import { isTierraError, type TierraError } from '../../src/core/errors.ts';
import { fromIndexable } from '../../src/data/index.ts';
import { type Hook, initialize, launch, type StepSummary, Trainer } from '../../src/engine/index.ts';
import { Dropout, Linear, Module } from '../../src/nn/index.ts';
import { noGrad, ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { numbers, settings, weightsOf } from './engineSupport.ts';

/** Which trouble a sample makes, in its first number: the model's units make it where it says. */
const trouble = { none: 0, output: 1, backward: 2, loss: 3, input: 4 } as const;
type Trouble = keyof typeof trouble;

interface Sample {
  readonly x: Tensor;
  readonly trouble: Trouble;
}

/** One of four equal units; `mine` of them makes trouble where it is told to. */
class Layer extends Module<[Tensor, Trouble], Tensor> {
  readonly linear = new Linear(6, 6);
  readonly drop = new Dropout(0.2);
  readonly #makes: Trouble | null;

  constructor(makes: Trouble | null) {
    super();
    this.#makes = makes;
  }

  forward(x: Tensor, wanted: Trouble): Tensor {
    const y = ops.tanh(this.drop.call(this.linear.call(x)));
    if (wanted !== this.#makes) return y;
    if (wanted === 'output') return ops.mul(y, Number.POSITIVE_INFINITY);
    // sqrt(0) is 0, and its slope is infinite.
    return ops.add(y, ops.sqrt(ops.mul(y, 0)));
  }
}

class Model extends Module<[Sample], Tensor> {
  readonly first = new Layer(null).unit();
  readonly second = new Layer('output').unit();
  readonly third = new Layer('backward').unit();
  readonly last = new Layer(null).unit();

  forward({ x, trouble: wanted }: Sample): Tensor {
    const layers = [this.first, this.second, this.third, this.last];
    const start = wanted === 'input' ? ops.mul(x, Number.NaN) : x;
    const y = layers.reduce((value, layer) => layer.call(value, wanted), start);
    const loss = ops.mean(ops.mul(y, y));
    return wanted === 'loss' ? ops.mul(loss, Number.NaN) : loss;
  }
}

const sampleOf = (index: number, wanted: Trouble = 'none'): Sample => ({
  x: ops.fromArray(numbers(24, index), [4, 6]).keep(),
  trouble: wanted,
});

const placements: Record<string, ConfigInput> = {
  resident: {},
  chunks: { memory: { gpu: '1MiB', cpu: '8MiB', chunkSize: '4KiB', accumulation: 'horizontal' } },
};

const task = {
  loss: (engine: { forward(input: Sample): Tensor }, sample: Sample) => engine.forward(sample),
  tokens: () => 1,
};

function start(changes: ConfigInput) {
  const context = launch(settings({ ...changes, train: { steps: 100, ...changes.train } }));
  return initialize<Sample, Tensor>({ context, model: new Model() });
}

const failure = async (body: Promise<unknown>): Promise<TierraError> => {
  try {
    await body;
  } catch (error) {
    if (isTierraError(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

describe.each(Object.entries(placements))('%s', (_, placement) => {
  /** Trains over the samples in order; returns what hooks saw. */
  async function trainOn(samples: readonly Sample[], changes: ConfigInput['train'], steps: number) {
    const engine = start({ ...placement, train: changes });
    const seen: StepSummary[] = [];
    const bad: [number, string][] = [];
    const states: Record<string, string>[] = [];
    const hook: Hook = {
      afterStep(_trainer, summary) {
        seen.push(summary);
        states.push(weightsOf(engine));
      },
      onNonFinite: (_trainer, { step }, action) => void bad.push([step, action]),
    };
    const data = fromIndexable(samples, { shuffle: false });
    try {
      await new Trainer({ engine, task, data, totalSteps: steps, hooks: [hook] }).fit();
    } finally {
      engine.dispose();
      for (const { x } of samples) x.dispose();
    }
    return { seen, bad, states };
  }

  it.each([
    ['output', { kind: 'output', microBatch: 1, unit: 'second', parameter: null }],
    ['input', { kind: 'input', microBatch: 1, unit: 'first', parameter: null }],
    ['loss', { kind: 'loss', microBatch: 1, unit: null, parameter: null }],
    ['backward', { kind: 'gradient', microBatch: null, unit: 'third', parameter: 'third.linear.weight' }],
  ] as const)('names where it came from: %s', async (wanted, origin) => {
    const samples = [0, 1, 2, 3].map((index) => sampleOf(index, index === 3 ? wanted : 'none'));
    const { seen, bad, states } = await trainOn(samples, { accumulate: 2 }, 2);
    expect(seen.map((summary) => summary.origin)).toEqual([null, origin]);
    expect(bad).toEqual([[2, 'skip']]);
    expect(states[1]).toEqual(states[0]);
  });

  it('names a weight that is no number', async () => {
    const engine = start(placement);
    const sample = sampleOf(1);
    engine.train().prepare(sample);
    const entry = engine.store
      .stateEntries()
      .find(({ parameter, kind }) => kind === 'weight' && parameter.name === 'third.linear.bias')!;
    entry.write(new Uint8Array(Float32Array.of(0, Number.NaN, 0, 0, 0, 0).buffer), 0);
    const summaries: StepSummary[] = [];
    const hooks: Hook[] = [{ afterStep: (_trainer, summary) => void summaries.push(summary) }];
    const data = fromIndexable([sample], { shuffle: false });
    await new Trainer({ engine, task, data, totalSteps: 1, hooks }).fit();
    expect(summaries[0]!.origin).toEqual({
      kind: 'parameter',
      microBatch: 0,
      unit: 'third',
      parameter: 'third.linear.bias',
    });
    engine.dispose();
    sample.x.dispose();
  });

  it('looking for it changes nothing: the run goes on as one whose bad batch only had no effect', async () => {
    const run = async (wanted: Trouble) => {
      const samples = [0, 1, 2, 3].map((index) => sampleOf(index, index === 1 ? wanted : 'none'));
      return await trainOn(samples, {}, 4);
    };
    const [backward, output] = [await run('backward'), await run('output')];
    expect(backward.states).toEqual(output.states);
    expect(backward.seen.map(({ loss }) => loss).filter(Number.isFinite)).toHaveLength(4);
    expect(new Set(backward.states.map((state) => JSON.stringify(state))).size).toBe(3);
  });

  it('stop: ends the run at once, and says where and why', async () => {
    const samples = [sampleOf(0), sampleOf(1, 'output'), sampleOf(2)];
    const error = await failure(trainOn(samples, { nonFinite: 'stop' }, 3));
    expect(error.code).toBe('E_NUMERICS');
    expect(error.message).toMatch(
      /^step 2: the loss is (NaN|infinite) and \d+ gradients are infinite or NaN, first met in the output of second in the forward pass of micro-batch 1/,
    );
    expect(error.message).toContain('train.nonFinite is stop. No checkpoint was saved');
  });

  it('skip: bears so many in a row and no more', async () => {
    const bad = (index: number) => sampleOf(index, 'loss');
    const samples = [sampleOf(0), bad(1), bad(2), sampleOf(3), bad(4), bad(5), bad(6), sampleOf(7)];
    const error = await failure(trainOn(samples, { nonFinite: 'skip', nonFiniteLimit: 2 }, 8));
    expect(error.message).toMatch(/^step 7: .*it is number 3 in a row and train.nonFiniteLimit is 2/);
    expect(error.details).toMatchObject({ step: 7, inARow: 3, total: 5 });
  });

  it('rewind: goes back, leaves the batch out, and gives the run that never had it', async () => {
    const clean = await trainOn(
      [0, 1, 2, 3, 4, 6, 7].map((index) => sampleOf(index)),
      {},
      7,
    );
    const samples = [0, 1, 2, 3, 4, 5, 6, 7].map((index) => sampleOf(index, index === 5 ? 'output' : 'none'));
    const engine = start({ ...placement, train: { nonFinite: 'rewind' } });
    const data = fromIndexable(samples, { shuffle: false });
    const losses = new Map<number, number>();
    const bad: [number, string][] = [];
    let saved: {
      step: number;
      position: ReturnType<typeof data.position>;
      state: Uint8Array[];
      progress: typeof engine.progress;
    } | null = null;
    let rewinds = 0;
    const hooks: Hook[] = [
      {
        afterStep(trainer, { step, loss }) {
          losses.set(step, loss);
          if (step !== 3 || saved !== null) return;
          const state = trainer.engine.store.stateEntries().map((entry) => {
            const bytes = new Uint8Array(entry.bytes);
            entry.read(bytes, 0);
            return bytes;
          });
          saved = { step, position: data.position(), state, progress: engine.progress };
        },
        onNonFinite: (_trainer, { step }, action) => void bad.push([step, action]),
      },
    ];
    const recovery = {
      last: () => (saved === null ? null : 'in memory'),
      async rewind() {
        rewinds++;
        const { step, position, state, progress } = saved!;
        noGrad(() =>
          scope(() => {
            for (const [index, entry] of engine.store.stateEntries().entries()) entry.write(state[index]!, 0);
          }),
        );
        engine.steps = step;
        engine.progress = progress;
        await data.restore(position);
      },
    };
    await new Trainer({ engine, task, data, totalSteps: 7, hooks, recovery }).fit();
    expect(bad).toEqual([[6, 'rewind']]);
    expect(rewinds).toBe(1);
    expect([...losses].sort(([a], [b]) => a - b).map(([, loss]) => loss)).toEqual(clean.seen.map(({ loss }) => loss));
    expect(weightsOf(engine)).toEqual(clean.states.at(-1));
    engine.dispose();
    for (const { x } of samples) x.dispose();
  });

  it('rewind: without a checkpoint it stops', async () => {
    const error = await failure(trainOn([sampleOf(0, 'loss')], { nonFinite: 'rewind' }, 1));
    expect(error.message).toContain('there is no checkpoint to go back to');
  });
});

describe('fp16', () => {
  it('overflows are no trouble until the scale is at its floor', async () => {
    const engine = start({
      precision: 'fp16',
      lossScale: { initial: 4, hysteresis: 1 },
      train: { nonFinite: 'skip', nonFiniteLimit: 2 },
    });
    const seen: [number, boolean, string | null][] = [];
    const hooks: Hook[] = [
      {
        afterStep: (_trainer, { lossScale, overflow, origin }) =>
          void seen.push([lossScale, overflow, origin?.kind ?? null]),
      },
    ];
    const samples = [0, 1].map((index) => sampleOf(index, 'backward'));
    for (const sample of samples) (sample as { x: Tensor }).x = ops.to(sample.x, { dtype: 'float16' }).keep();
    const data = fromIndexable(samples, { shuffle: false });
    const error = await failure(new Trainer({ engine, task, data, totalSteps: 20, hooks }).fit());
    expect(seen).toEqual([
      [4, true, null],
      [2, true, null],
      [1, false, 'gradient'],
      [1, false, 'gradient'],
    ]);
    expect(error.message).toMatch(/^step 5: .*number 3 in a row/);
    engine.dispose();
  });
});
