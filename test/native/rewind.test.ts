/** Going back to a checkpoint in the middle of a run gives, bit for bit, the run that never saw the bad batch. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/index.ts';
import { fromIndexable } from '../../src/data/index.ts';
import { type Hook, initialize, launch, Trainer } from '../../src/engine/index.ts';
import { rewind } from '../../src/engine/rewind.ts';
import { saveCheckpoint } from '../../src/engine/saving.ts';
import type { Task } from '../../src/engine/trainer.ts';
import { buildModel, type TokenBatch } from '../../src/models/index.ts';
import { ops, type Tensor } from '../../src/tensor/index.ts';
import { settings, tokens, weightsOf } from './engineSupport.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'tierra-rewind-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

type Batch = TokenBatch & { readonly bad?: boolean };

const task: Task<Batch> = {
  loss: (engine, { bad, ...batch }): Tensor => ops.mul(engine.forward(batch), bad === true ? Number.NaN : 1),
  tokens: ({ ids }) => ids.elements,
};

const shape = { vocab_size: 61, n_positions: 32, n_embd: 24, n_layer: 2, n_head: 3, resid_pdrop: 0.1 };

async function train(changes: ConfigInput, data: readonly Batch[], saveAt: number | null) {
  const output = path.join(folder, String(saveAt));
  const context = launch(settings({ ...changes, train: { steps: 6, nonFinite: 'rewind', output } }));
  const built = buildModel({ architecture: 'gpt2', config: shape });
  const engine = initialize<TokenBatch, Tensor>({ context, model: built.model as never });
  const source = fromIndexable(data, { shuffle: false, fingerprint: 'these tokens' });
  engine.prepare(data[0]!);
  const losses = new Map<number, number>();
  let last: string | null = null;
  const hooks: Hook[] = [
    {
      async afterStep(_trainer, { step, loss }) {
        losses.set(step, loss);
        if (step !== saveAt) return;
        if (last !== null) throw new Error('saved twice');
        const save = { built, config: context.config, totalSteps: 6 };
        last = (await saveCheckpoint(engine, save, source.position())).path;
      },
    },
  ];
  const went: unknown[] = [];
  const recovery = {
    last: () => last,
    rewind: async () => void went.push(await rewind({ engine, built, data: source, config: context.config })),
  };
  await new Trainer({ engine, task, data: source, totalSteps: 6, hooks, recovery }).fit();
  const weights = weightsOf(engine);
  engine.dispose();
  return { losses, weights, went, last };
}

describe('rewind', () => {
  it.each([
    ['resident', {}],
    ['chunks in fp16', { precision: 'fp16', memory: { gpu: '1MiB', cpu: '32MiB' } }],
  ] as const)('%s', async (_, changes) => {
    const good = Array.from({ length: 6 }, (__, index) => tokens(2, 16, index));
    const bad = { ...tokens(2, 16, 99), bad: true };
    const clean = await train(changes, good, null);
    const { losses, weights, went, last } = await train(changes, [...good.slice(0, 4), bad, ...good.slice(4)], 2);
    expect(went).toEqual([{ step: 2, path: last }]);
    expect(losses).toEqual(clean.losses);
    expect(weights).toEqual(clean.weights);
    for (const { ids, labels } of [...good, bad]) {
      ids.dispose();
      labels.dispose();
    }
  });
});
