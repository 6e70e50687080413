/** A model that has its weights already is trained from them, wherever `memory:` puts it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/index.ts';
import { type Engine, initialize, launch } from '../../src/engine/index.ts';
import { Gpt2, type TokenBatch } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import { initialValues, placeParameters, type ValueSource } from '../../src/nn/index.ts';
import { scope, type Tensor } from '../../src/tensor/index.ts';
import { tinyGpt2 } from '../cases/models.ts';
import { bytesOf, settings, tokens, weightsOf } from './engineSupport.ts';

const values: ValueSource = (parameter) => initialValues(parameter, 77, 'float32');
const still = { resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0 };
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'tierra-placed-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
  expect([native().liveArenas(), native().liveTensors()]).toEqual([0, 0]);
});

const ample = { gpu: '1GiB', cpu: '1GiB', chunkSize: 32 * 1024, policy: 'static' } as const;
const placements: Readonly<Record<string, () => ConfigInput['memory']>> = {
  resident: () => ({}),
  'host memory': () => ({
    ...ample,
    static: { gpuParameters: 0.3, gpuStates: 0, hostParameters: 1, hostStates: 1 },
  }),
  'host memory and disk': () => ({
    ...ample,
    nvme: { path: folder, size: '1GiB' },
    static: { gpuParameters: 0.3, gpuStates: 0, hostParameters: 0.5, hostStates: 0.3 },
  }),
};

function placedModel(): Gpt2 {
  const model = new Gpt2(tinyGpt2(still));
  placeParameters(model, { seed: 0, dtype: 'float32', device: 'cpu', values });
  return model;
}

type Trained = Engine<TokenBatch, Tensor>;

/** Losses and all bits after three steps, the first loss seen in evaluation too. */
function train(engine: Trained) {
  const batch = tokens(2, 16, 5);
  try {
    engine.prepare(batch, { together: true });
    const before = scope(() => engine.eval().forward(batch).item());
    engine.train();
    const losses = [0, 1, 2].map(() => {
      engine.zeroGrad();
      const loss = scope(() => engine.runMicroBatches([batch])[0]!.item());
      engine.step();
      return loss;
    });
    const tiers = engine.store.use().map(({ tier }) => tier);
    return { before, losses, weights: weightsOf(engine), tiers };
  } finally {
    engine.dispose();
    batch.ids.dispose();
    batch.labels.dispose();
  }
}

const engineOf = (
  model: Gpt2,
  precision: 'fp32' | 'bf16',
  memory: ConfigInput['memory'],
  given?: ValueSource,
): Trained =>
  initialize<TokenBatch, Tensor>({
    context: launch(settings({ precision, memory: memory ?? {} })),
    model,
    ...(given === undefined ? {} : { values: given }),
  });

describe.each(['fp32', 'bf16'] as const)('%s', (precision) => {
  it.each(Object.keys(placements))('%s: as if the values had been given to initialize', (name) => {
    const placed = train(engineOf(placedModel(), precision, placements[name]!()));
    const given = train(engineOf(new Gpt2(tinyGpt2(still)), precision, placements[name]!(), values));
    expect(placed).toEqual(given);
    const tiers = { resident: ['gpu'], 'host memory': ['gpu', 'host'] }[name] ?? ['gpu', 'host', 'nvme'];
    expect(placed.tiers).toEqual(tiers);
  });
});

it('values given to initialize come before what the model has', () => {
  const other: ValueSource = (parameter) => initialValues(parameter, 78, 'float32');
  const placed = train(engineOf(placedModel(), 'fp32', placements['host memory']!(), other));
  expect(placed).toEqual(train(engineOf(new Gpt2(tinyGpt2(still)), 'fp32', placements['host memory']!(), other)));
});

it('a model that no store takes keeps its weights', () => {
  const model = placedModel();
  const bits = (): string[] => model.parameters().map(({ tensor }) => bytesOf(tensor));
  const before = bits();
  const broken: ValueSource = () => {
    throw new Error('no values today');
  };
  expect(() => engineOf(model, 'fp32', {}, broken)).toThrow('no values today');
  expect(bits()).toEqual(before);
  model.unplace();
});
