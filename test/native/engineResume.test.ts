/** Stopping and going on gives, bit for bit, what not stopping gives. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/index.ts';
import { fromIndexable } from '../../src/data/index.ts';
import { type Hook, initialize, launch, Trainer } from '../../src/engine/index.ts';
import { loadCheckpoint } from '../../src/engine/loading.ts';
import { saveCheckpoint } from '../../src/engine/saving.ts';
import type { Task } from '../../src/engine/trainer.ts';
import { type BuiltModel, buildModel, type TokenBatch } from '../../src/models/index.ts';
import type { Tensor } from '../../src/tensor/index.ts';
import { settings, tokens, weightsOf } from './engineSupport.ts';
import { inFp32 } from './tiersSupport.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'tierra-resume-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const architecture = (dropout: number): BuiltModel =>
  buildModel({
    architecture: 'gpt2',
    config: {
      vocab_size: 61,
      n_positions: 32,
      n_embd: 24,
      n_layer: 2,
      n_head: 3,
      embd_pdrop: dropout,
      attn_pdrop: dropout,
      resid_pdrop: dropout,
    },
  });

const task: Task<TokenBatch> = {
  loss: (engine, batch): Tensor => engine.forward(batch),
  input: (batch) => batch,
  tokens: ({ ids }) => ids.elements,
};

interface Trained {
  readonly losses: number[];
  readonly norms: number[];
  readonly weights: Record<string, string>;
}

/** Trains up to `stopAt` of ten steps from `from`, and saves there when it is not the end. */
async function train(
  changes: ConfigInput,
  data: readonly TokenBatch[],
  { from, stopAt = 10 }: { from?: string; stopAt?: number } = {},
): Promise<Trained & { saved: string }> {
  const context = launch(settings({ ...changes, train: { steps: 10, output: folder, ...changes.train } }));
  const built = architecture(0.1);
  const engine = initialize<TokenBatch, Tensor>({ context, model: built.model as never });
  const source = fromIndexable(data, { seed: 3, fingerprint: 'these tokens' });
  engine.prepare(data[0]!);
  if (from !== undefined) await source.restore(loadCheckpoint(engine, from, built).position);
  const losses: number[] = [];
  const norms: number[] = [];
  const hooks: Hook[] = [
    {
      afterStep(trainer, summary) {
        losses.push(summary.loss);
        norms.push(summary.gradientNorm);
        if (summary.step === stopAt) trainer.stop();
      },
    },
  ];
  await new Trainer({ engine, task, data: source, totalSteps: 10, hooks }).fit();
  const save = { built, config: context.config, totalSteps: 10 };
  const saved = stopAt < 10 ? (await saveCheckpoint(engine, save, source.position())).path : '';
  const weights = weightsOf(engine);
  engine.dispose();
  return { losses, norms, weights, saved };
}

const groups = [
  { match: 'ln_', learningRate: 5e-3 },
  { match: 'embedding', weightDecay: 0.3 },
];

const cases: Record<string, ConfigInput> = {
  'AdamW with accumulation, clipping, groups and a cosine': {
    train: { accumulate: 3, clipNorm: 0.5 },
    optimizer: { name: 'adamw', learningRate: 3e-3, groups },
    schedule: { name: 'cosine', warmupSteps: 3 },
  },
  'SGD with momentum and one cycle': {
    optimizer: { name: 'sgd', learningRate: 0.05, momentum: 0.9, nesterov: true },
    schedule: { name: 'onecycle' },
  },
  'Lion with frozen parameters': {
    optimizer: { name: 'lion', learningRate: 1e-3, groups: [{ match: 'blocks.0', frozen: true }] },
    schedule: { name: 'linear', warmupSteps: 2 },
  },
  'AdamW with the model in chunks, unit by unit': {
    memory: { gpu: '1MiB', cpu: '32MiB', accumulation: 'vertical' },
    train: { accumulate: 2 },
  },
  'AdamW with the model in chunks, one micro-batch after another': {
    memory: { gpu: '1MiB', cpu: '32MiB', accumulation: 'horizontal' },
    train: { accumulate: 2 },
  },
  'AdamW in bf16, with fp32 masters': { precision: 'bf16', train: { accumulate: 2 } },
  'AdamW with compressed states in bf16': { precision: 'bf16', optimizer: { states: 'compressed' } },
  'AdamW with compressed states in fp32': { optimizer: { states: 'compressed' }, train: { accumulate: 2 } },
  'AdamW in fp16, with a loss scale that falls and grows': {
    precision: 'fp16',
    lossScale: { initial: 2 ** 20, growthInterval: 1, hysteresis: 1 },
  },
};

describe('stop and resume', () => {
  for (const [name, changes] of Object.entries(cases)) {
    it(name, async () => {
      const data = Array.from({ length: 7 }, (_, index) => tokens(2, 16, index));
      const whole = await train(changes, data);
      const first = await train(changes, data, { stopAt: 4 });
      const second = await train(changes, data, { from: first.saved });
      expect([...first.losses, ...second.losses]).toEqual(whole.losses);
      expect([...first.norms, ...second.norms]).toEqual(whole.norms);
      expect(second.weights).toEqual(whole.weights);
      expect(new Set(whole.losses).size).toBe(10);
      if (changes.precision === 'fp16') {
        // Both parts have skipped steps and good ones.
        for (const { norms } of [first, second]) {
          expect(new Set(norms.map(Number.isFinite))).toEqual(new Set([true, false]));
        }
      }
      for (const { ids, labels } of data) {
        ids.dispose();
        labels?.dispose();
      }
    });
  }
});

describe('a checkpoint without optimizer state', () => {
  const start = (changes: ConfigInput, options: object) => {
    const context = launch(settings({ precision: 'bf16', train: { steps: 10, output: folder }, ...changes }));
    const built = architecture(0);
    const engine = initialize<TokenBatch, Tensor>({ context, model: built.model as never, ...options });
    return { built, config: context.config, totalSteps: 10, engine };
  };

  it.each([
    ['resident', {}],
    ['in chunks', { memory: { gpu: '1MiB', cpu: '32MiB' } }],
  ] as const)('begins states with its weights, %s', async (_, changes) => {
    const saver = start({ seed: 5 }, { forTraining: false });
    const { path: saved } = await saveCheckpoint(saver.engine, saver, {} as never);
    const weights = weightsOf(saver.engine);
    saver.engine.dispose();
    const batch = tokens(2, 16, 1);
    const { engine, built } = start(changes, { values: inFp32 });
    engine.prepare(batch);
    loadCheckpoint(engine, saved, built);
    const loaded = weightsOf(engine);
    const kinds = Object.keys(loaded).map((name) => name.split(' ')[1]);
    expect(new Set(kinds)).toEqual(new Set(['weight', 'master', 'moment1', 'moment2']));
    for (const [name, bytes] of Object.entries(weights)) {
      expect(loaded[name]).toBe(bytes);
      const [parameter] = name.split(' ');
      // An fp32 number with a bf16 one's bits on top.
      expect(loaded[`${parameter} master`]).toBe(bytes.replaceAll(/..../g, '0000$&'));
      expect(loaded[`${parameter} moment2`]).toMatch(/^0+$/);
    }
    engine.dispose();
    for (const each of [batch.ids, batch.labels]) each.dispose();
  });
});
