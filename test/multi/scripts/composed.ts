/** Trains one script under the meshes it is given, each on all ranks together. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import type { ConfigInput } from '../../../src/config/index.ts';
import { alone, type Communicator } from '../../../src/dist/index.ts';
import { stepName } from '../../../src/engine/checkpoint/names.ts';
import { type Engine, initialize, launch } from '../../../src/engine/index.ts';
import { loadCheckpoint } from '../../../src/engine/loading.ts';
import { joinMesh } from '../../../src/engine/mesh.ts';
import { type DataRanks, dataRanks, meanOver, noOtherRanks } from '../../../src/engine/ranks.ts';
import { saveCheckpoint } from '../../../src/engine/saving.ts';
import { underTensorParallel } from '../../../src/engine/tensorParallel.ts';
import { buildModel, type TokenBatch } from '../../../src/models/index.ts';
import type { Module } from '../../../src/nn/index.ts';
import { ops, scope, type Tensor } from '../../../src/tensor/index.ts';
import { settings } from '../../native/engineSupport.ts';
import { freeBatch, noPosition, rowsOf } from '../rankSupport.ts';

export type ModelName = 'gpt' | 'dropping' | 'tied' | 'llama' | 'mixtral';

export interface MeshCase {
  readonly name: string;
  readonly parallel: NonNullable<ConfigInput['parallel']>;
  readonly model: ModelName;
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
  /** Of the weights that this rank has, a hash by name; parts of whole tensors by name and which part. */
  readonly copies: Readonly<Record<string, string>>;
  /** Bytes in use at the end, by tier. */
  readonly used: Readonly<Record<string, number>>;
}

const rows = 4;
const accumulate = 2;
const gpt = {
  n_embd: 32,
  n_layer: 2,
  n_head: 4,
  n_positions: 16,
  vocab_size: 61,
  resid_pdrop: 0,
  embd_pdrop: 0,
  attn_pdrop: 0,
};
const models = {
  gpt: { architecture: 'gpt2', config: { ...gpt, tie_word_embeddings: false } },
  dropping: { architecture: 'gpt2', config: { ...gpt, resid_pdrop: 0.2, embd_pdrop: 0.2, attn_pdrop: 0.5 } },
  tied: { architecture: 'gpt2', config: gpt },
  llama: {
    architecture: 'llama',
    config: {
      hidden_size: 32,
      intermediate_size: 48,
      num_hidden_layers: 3,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      vocab_size: 61,
      max_position_embeddings: 16,
    },
  },
  mixtral: {
    architecture: 'mixtral',
    config: {
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      vocab_size: 61,
      max_position_embeddings: 16,
      sliding_window: null,
      num_local_experts: 4,
      num_experts_per_tok: 2,
      router_aux_loss_coef: 0.05,
    },
  },
} as const;

export async function run(communicator: Communicator | null, cases: readonly MeshCase[]) {
  const results: Record<string, MeshResult> = {};
  for (const each of cases) results[each.name] = await train(communicator, each);
  return results;
}

/** Rows whose first labels count for nothing: ranks that share a sequence have different numbers of them, one perhaps none. */
function batchOf(index: number, { rank, size }: DataRanks['rows']): TokenBatch & { labels: Tensor } {
  const { ids, labels } = rowsOf(rows, index, rank, size);
  const silent = scope(() =>
    ops.maskedFill(labels, ops.lt(ops.arange(0, labels.size(1), { device: 'cpu' }), 4), -100).keep(),
  );
  labels.dispose();
  return { ids, labels: silent };
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
    [],
    communicator?.world ?? alone,
  );
  if (communicator !== null) joinMesh(context, communicator);
  const ranks = communicator === null ? noOtherRanks : dataRanks(context);
  const built = underTensorParallel(context, () => buildModel(models[given.model]));
  const model = built.model as unknown as Module<[TokenBatch], Tensor>;
  const engine: Engine<TokenBatch, Tensor> = initialize({ context, model, ranks });
  engine.train();
  const own = ranks.rows;
  const first = batchOf(0, own);
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
    const batches = Array.from({ length: accumulate }, (_, at) => batchOf(engine.steps * accumulate + at, own));
    const sum = scope(() => engine.runMicroBatches(batches).reduce((sum, loss) => sum + loss.item(), 0));
    losses.push(meanOver(ranks, sum / accumulate));
    const outcome = engine.step()!;
    norms.push(outcome.gradientNorm);
    if (outcome.clipFactor < 1) clipped++;
    for (const batch of batches) freeBatch(batch);
  }
  if (folder !== undefined) {
    await saveCheckpoint(engine, { built, config: context.config, totalSteps: 20 }, noPosition);
  }
  const copies = copiesIn(engine);
  const used = Object.fromEntries(engine.store.use().map(({ tier, usedBytes }) => [tier, usedBytes]));
  engine.dispose();
  built.model.unplace();
  return { losses, norms, clipped, copies, used };
}

function copiesIn({ store }: Engine<TokenBatch, Tensor>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of store.stateEntries()) {
    const { kind, parameter, part, bytes } = entry;
    if (kind !== 'weight' || part !== undefined) continue;
    const content = new Uint8Array(bytes);
    entry.read(content, 0);
    const { name, whole } = parameter;
    const key = whole === null ? name : `${name} ${JSON.stringify(whole.ranges)}`;
    found[key] = createHash('sha1').update(content).digest('hex');
  }
  return found;
}
