/** Trains one script under the meshes it is given, each on all ranks together. */
import path from 'node:path';
import type { ConfigInput } from '../../../src/config/index.ts';
import type { Communicator } from '../../../src/dist/index.ts';
import { stepName } from '../../../src/engine/checkpoint/names.ts';
import { type Engine, initialize, launch } from '../../../src/engine/index.ts';
import { loadCheckpoint } from '../../../src/engine/loading.ts';
import { joinMesh } from '../../../src/engine/mesh.ts';
import { dataRanks, meanOver, noOtherRanks } from '../../../src/engine/ranks.ts';
import { saveCheckpoint } from '../../../src/engine/saving.ts';
import { underTensorParallel } from '../../../src/engine/tensorParallel.ts';
import { buildModel, type TokenBatch } from '../../../src/models/index.ts';
import type { Module } from '../../../src/nn/index.ts';
import { scope, type Tensor } from '../../../src/tensor/index.ts';
import { settings } from '../../native/engineSupport.ts';
import { freeBatch, rowsOf } from '../rankSupport.ts';

export interface MeshCase {
  readonly name: string;
  readonly parallel: NonNullable<ConfigInput['parallel']>;
  readonly model: 'gpt2' | 'llama';
  readonly memory?: ConfigInput['memory'];
  /** Continues from the checkpoint of this step. */
  readonly from?: number;
  readonly steps: number;
  /** Saves at the end. */
  readonly folder?: string;
}

export interface MeshResult {
  /** Means over micro-batches and data ranks. */
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly clipped: number;
}

const rows = 4;
const accumulate = 2;
const models = {
  gpt2: { architecture: 'gpt2', config: { n_embd: 32, n_layer: 2, n_head: 4, n_positions: 16, vocab_size: 61 } },
  llama: {
    architecture: 'llama',
    config: {
      ...{ hidden_size: 32, intermediate_size: 48, num_hidden_layers: 3, num_attention_heads: 4 },
      ...{ num_key_value_heads: 2, vocab_size: 61, max_position_embeddings: 16 },
    },
  },
} as const;
const noDropout = { resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0 };

export async function run(communicator: Communicator | null, cases: readonly MeshCase[]) {
  const results: Record<string, MeshResult> = {};
  for (const each of cases) results[each.name] = await train(communicator, each);
  return results;
}

async function train(communicator: Communicator | null, given: MeshCase): Promise<MeshResult> {
  const { parallel, memory, folder } = given;
  const context = launch(
    settings({
      precision: 'fp64',
      ...{ parallel: communicator === null ? {} : parallel, ...(memory === undefined ? {} : { memory }) },
      optimizer: { learningRate: 1e-2, groups: [{ match: 'norm|ln_', weightDecay: 0 }] },
      train: { accumulate, clipNorm: 1, ...(folder === undefined ? {} : { output: folder, keepLast: 99 }) },
    }),
  );
  if (communicator !== null) joinMesh(context, communicator);
  const ranks = communicator === null ? noOtherRanks : dataRanks(context);
  const { architecture, config } = models[given.model];
  const extra = given.model === 'gpt2' ? noDropout : {};
  const built = underTensorParallel(context, () => buildModel({ architecture, config: { ...config, ...extra } }));
  const model = built.model as unknown as Module<[TokenBatch], Tensor>;
  const engine: Engine<TokenBatch, Tensor> = initialize({ context, model, ranks });
  engine.train();
  const first = rowsOf(rows, 0, ranks.rank, ranks.size);
  engine.prepare(first, { together: true });
  freeBatch(first);
  if (given.from !== undefined) {
    loadCheckpoint(engine, path.join(folder!, 'checkpoints', stepName(given.from)), built);
  }
  const until = (given.from ?? 0) + given.steps;
  const losses: number[] = [];
  const norms: number[] = [];
  let clipped = 0;
  while (engine.steps < until) {
    engine.zeroGrad();
    const batches = Array.from({ length: accumulate }, (_, at) =>
      rowsOf(rows, engine.steps * accumulate + at, ranks.rank, ranks.size),
    );
    const own = scope(() => engine.runMicroBatches(batches).reduce((sum, loss) => sum + loss.item(), 0));
    losses.push(meanOver(ranks, own / accumulate));
    const outcome = engine.step()!;
    norms.push(outcome.gradientNorm);
    if (outcome.clipFactor < 1) clipped++;
    for (const batch of batches) freeBatch(batch);
  }
  if (folder !== undefined) {
    const nowhere = {
      version: 1,
      fingerprint: null,
      samples: null,
      shuffle: false,
      seed: 0,
      epoch: 0,
      sample: 0,
    } as const;
    await saveCheckpoint(engine, { built, config: context.config, totalSteps: 20 }, nowhere);
  }
  engine.dispose();
  built.model.unplace();
  return { losses, norms, clipped };
}
