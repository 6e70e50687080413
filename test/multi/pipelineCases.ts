/** Tiny models and runs of a pipeline, as its tests and their rank processes share them. */
import type { ConfigInput } from '../../src/config/index.ts';
import { alone, type Group } from '../../src/dist/index.ts';
import type { PipelineEvent } from '../../src/dist/pipeline/index.ts';
import { type Context, type Engine, generateIds, initialize, launch } from '../../src/engine/index.ts';
import { Gpt2, type LanguageModel, Llama, type TokenBatch } from '../../src/models/index.ts';
import type { Tensor } from '../../src/tensor/index.ts';
import { tinyGpt2, tinyLlama } from '../cases/models.ts';
import { tokens, weightsOf } from '../native/engineSupport.ts';

export interface PipelineCase {
  readonly name: string;
  readonly model: 'gpt2' | 'gpt2-tied' | 'llama';
  readonly layers: number;
  readonly steps: number;
  readonly config: ConfigInput;
  /** Changes on one rank, such as tiers of its own. */
  readonly onRank?: { readonly rank: number; readonly config: ConfigInput };
}

export interface PipelineRun {
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly evaluated: readonly number[];
  readonly generated: readonly number[];
  /** Every tensor of this rank's state, by name, as hex. */
  readonly weights: Readonly<Record<string, string>>;
  /** `pass unit` of every visit to a unit in the second step, and labels of the schedule's actions. */
  readonly visits: readonly string[];
  readonly actions: readonly string[];
  /** Bytes by tier at the end. */
  readonly tiers: Readonly<Record<string, number>>;
  /** Tensors that were left behind. */
  readonly live: number;
}

const base = {
  name: 'pipeline',
  seed: 5,
  device: 'cpu',
  precision: 'fp64',
  runtime: { threads: 1, optimizerThreads: 1 },
  optimizer: { learningRate: 1e-2 },
  train: { steps: 20, accumulate: 4, clipNorm: 0.5 },
} satisfies ConfigInput;

const sections = (...parts: readonly ConfigInput[]): ConfigInput => {
  const merged: Record<string, unknown> = {};
  for (const part of parts) {
    for (const [key, value] of Object.entries(part)) {
      const before = merged[key];
      merged[key] = typeof value === 'object' && value !== null ? { ...(before as object), ...value } : value;
    }
  }
  return merged as ConfigInput;
};

function modelOf({ model, layers }: PipelineCase): LanguageModel {
  if (model === 'llama') return new Llama(tinyLlama({ num_hidden_layers: layers }));
  const dropout = { resid_pdrop: 0.1, attn_pdrop: 0.1, embd_pdrop: 0.1 };
  return new Gpt2(tinyGpt2({ n_layer: layers, tie_word_embeddings: model === 'gpt2-tied', ...dropout }));
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

/** Trains, evaluates in between, and tells what came of it. `pipeline` null: one process by itself. */
export function trainCase(
  one: PipelineCase,
  pipeline: Group | null,
  label: (event: PipelineEvent) => string,
): PipelineRun {
  const own = one.onRank !== undefined && pipeline?.rank === one.onRank.rank ? one.onRank.config : {};
  const alonePart: ConfigInput = pipeline === null ? { parallel: { pp: 1 } } : {};
  const context: Context = launch(sections(base, one.config, own, alonePart), [], alone);
  const actions: string[] = [];
  const visits: string[] = [];
  const model = modelOf(one);
  const engine: Engine<TokenBatch, Tensor> = initialize<TokenBatch, Tensor>({
    context,
    model,
    ...(pipeline === null ? {} : { pipeline }),
    onPipelineEvent: (event) => engine.steps === 1 && actions.push(label(event)),
  });
  const { store } = engine;
  const acquire = store.acquire.bind(store);
  store.acquire = (unit, pass) => {
    if (engine.steps === 1) visits.push(`${pass} ${unit.index}`);
    acquire(unit, pass);
  };
  const batches = range(4).map((index) => tokens(2, 8, index));
  const losses: number[] = [];
  const norms: number[] = [];
  const evaluated: number[] = [];
  for (const step of range(one.steps)) {
    engine.zeroGrad();
    const inputs = range(engine.accumulate).map((index) => batches[(step + index) % batches.length]!);
    losses.push(...engine.runMicroBatches(inputs).map((loss) => loss.item()));
    norms.push(engine.step()!.gradientNorm);
    if (step !== 0) continue;
    const count = visits.length;
    engine.eval();
    const output = engine.forward(batches[3]!);
    evaluated.push(output.item());
    output.dispose();
    engine.train();
    visits.length = count;
  }
  const weights = weightsOf(engine);
  engine.eval();
  const settings = { prompt: '', temperature: 0.8, topK: null, topP: 1, seed: 3, tokens: 5 };
  const generator = {
    model,
    store,
    device: 'cpu',
    ...(pipeline === null ? {} : { forward: engine.forward.bind(engine) }),
  };
  const generated = [...generateIds(generator, [1, 2, 3], settings, { endOfText: null, vocabulary: 61 })];
  const tiers = Object.fromEntries(store.use().map(({ tier, usedBytes }) => [tier, usedBytes]));
  engine.dispose();
  model.unplace(); // tables that the model keeps
  for (const { ids, labels } of batches) for (const tensor of [ids, labels]) tensor.dispose();
  return { losses, norms, evaluated, generated, weights, visits, actions, tiers, live: 0 };
}
