/** Text from a model: prefill, then one token at a time through the key/value cache. */

import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';
import { byteTokenizer, loadTokenizer, type Tokenizer } from '../data/index.ts';
import { alone } from '../dist/index.ts';
import { type BuiltModel, buildModel, type LanguageModel, type TokenBatch, valuesFor } from '../models/index.ts';
import { native } from '../native/load.ts';
import { ForwardRunner, KeyValueCache, type UnitHost, withRunner } from '../nn/index.ts';
import { noGrad, ops, scope, type Tensor } from '../tensor/index.ts';
import { findNewest } from './checkpoint/index.ts';
import { initialize } from './initialize.ts';
import { launch } from './launch.ts';
import { drawToken, type SamplingSettings } from './sampling.ts';

export interface Generator {
  readonly model: LanguageModel;
  readonly store: UnitHost;
  readonly device: string;
  /** Runs the model; default: here, on the parameters of `store`. Across pipeline stages `engine.forward` in eval mode, on all ranks. */
  readonly forward?: (batch: TokenBatch) => Tensor;
}

export interface SampleSettings extends SamplingSettings {
  readonly prompt: string;
  readonly tokens: number;
  readonly seed: number;
}

/** Token ids that continue `prompt`, as they are drawn. Ends at end-of-text, after `tokens`, or at the model's last position. */
export function* generateIds(
  generator: Generator,
  prompt: readonly number[],
  settings: SampleSettings,
  stop: { readonly endOfText: number | null; readonly vocabulary: number },
): IterableIterator<number> {
  const { model, device } = generator;
  const training = model.training;
  model.eval();
  native().seed(device, BigInt(settings.seed));
  using cache = new KeyValueCache();
  try {
    let ids = prompt;
    // Counted here: a rank of a pipeline may hold no layer that caches.
    let start = 0;
    for (let count = 0; count < settings.tokens; count++) {
      if (count > 0 && start + ids.length > model.maxLength) return;
      const next = step(generator, ids, { cache, start }, settings, stop.vocabulary);
      if (next === stop.endOfText) return;
      yield next;
      start += ids.length;
      ids = [next];
    }
  } finally {
    model.train(training);
  }
}

function step(
  { model, store, device, forward }: Generator,
  ids: readonly number[],
  before: { readonly cache: KeyValueCache; readonly start: number },
  settings: SamplingSettings,
  vocabulary: number,
): number {
  const here = (batch: TokenBatch): Tensor => withRunner(new ForwardRunner(store), () => model.call(batch));
  return scope(() =>
    noGrad(() => {
      const input = ops.fromArray(ids, [1, ids.length], { dtype: 'int64', device });
      const logits = (forward ?? here)({ ids: input, ...before });
      return drawToken(ops.select(ops.select(logits, 1, ids.length - 1), 0, 0), settings, vocabulary);
    }),
  );
}

/** Runs `generateIds` on text and hands pieces of text to `write` as they become certain. */
export async function writeSample(
  generator: Generator,
  tokenizer: Tokenizer,
  settings: SampleSettings,
  write: (text: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  const encoded = Array.from(tokenizer.encode(settings.prompt));
  checkPrompt(encoded.length, generator.model.maxLength);
  const first = tokenizer.startOfText ?? tokenizer.endOfText ?? 0;
  const decoder = tokenizer.createDecoder({ skipSpecial: true });
  const stop = { endOfText: tokenizer.endOfText, vocabulary: tokenizer.vocabularySize };
  for (const id of generateIds(generator, encoded.length > 0 ? encoded : [first], settings, stop)) {
    const text = decoder.push(id);
    if (text !== '') write(text);
    await letEventsIn();
    if (signal?.aborted) break;
  }
  write(decoder.end());
}

function checkPrompt(tokens: number, positions: number): void {
  if (tokens <= positions) return;
  throw new TierraError('E_ARGUMENT', `the prompt has ${tokens} tokens, the model ${positions} positions in all`, {
    hint: `Give a prompt of at most ${positions} tokens.`,
  });
}

/** Lets a signal arrive between tokens, which are synchronous work. */
const letEventsIn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** The prompt and its continuation as one string. */
export async function sampleText(
  generator: Generator,
  tokenizer: Tokenizer,
  settings: SampleSettings,
  signal?: AbortSignal,
): Promise<string> {
  const pieces = [settings.prompt];
  await writeSample(generator, tokenizer, settings, (piece) => pieces.push(piece), signal);
  return pieces.join('');
}

export interface GenerationIo {
  /** Folder of a run, of one of its checkpoints, or of a Hugging Face model. */
  readonly checkpoint: string;
  /** Receives text as it is generated. */
  readonly write: (text: string) => void;
  readonly signal: AbortSignal;
}

/** `tierra generate`. */
export async function runGeneration(config: Config, { checkpoint, write, signal }: GenerationIo): Promise<void> {
  const folder = await modelFolder(checkpoint);
  const built = buildModel({ path: folder, weights: true });
  const hasTokenizer = existsSync(path.join(folder, 'tokenizer.json'));
  const tokenizer = hasTokenizer ? await loadTokenizer(folder) : byteTokenizer();
  if (tokenizer.vocabularySize > built.model.vocabularySize) {
    throw new TierraError(
      'E_CHECKPOINT',
      `${folder}: the tokenizer ${tokenizer.name} has ${tokenizer.vocabularySize} ids, the model's vocabulary only ${built.model.vocabularySize}`,
      {
        hint: hasTokenizer
          ? 'tokenizer.json and config.json are not of one model.'
          : 'There is no tokenizer.json, so bytes were assumed: copy the one that the model was trained with into the folder.',
      },
    );
  }
  const context = launch({ ...config, precision: precisionFor(config, built) }, [], alone);
  const weights = valuesFor(built)!;
  using engine = initialize({ context, model: built.model, values: weights.values, forTraining: false });
  const length = Math.min(built.model.maxLength, tokenizer.encode(config.sample.prompt).length + config.sample.tokens);
  scope(() => {
    const ids = ops.fromArray(new BigInt64Array(length), [1, length], { device: context.device });
    engine.eval().prepareForward({ ids });
  });
  weights.close();
  if (config.sample.prompt !== '') write(config.sample.prompt);
  await writeSample(
    { model: built.model, store: engine.store, device: context.device },
    tokenizer,
    config.sample,
    write,
    signal,
  );
  write('\n');
}

const savedTypes: Readonly<Record<string, Config['precision']>> = {
  float64: 'fp64',
  float32: 'fp32',
  bfloat16: 'bf16',
  float16: 'fp16',
};

/** `auto` computes on a GPU in the type of the weights; on a CPU in fp32, which holds all narrower types exactly. */
function precisionFor({ precision, device }: Config, { hfConfig }: BuiltModel): Config['precision'] {
  if (precision !== 'auto') return precision;
  const saved = savedTypes[String(hfConfig.dtype ?? hfConfig.torch_dtype)] ?? 'auto';
  const onCpu = device === 'cpu' || native().deviceCount() === 0;
  return onCpu && saved !== 'fp64' ? 'fp32' : saved;
}

/** The Hugging Face folder that `location` means: itself, a checkpoint's `model/`, or that of a run's newest checkpoint. */
async function modelFolder(location: string): Promise<string> {
  if (existsSync(path.join(location, 'config.json'))) return location;
  if (existsSync(path.join(location, 'model', 'config.json'))) return path.join(location, 'model');
  const { found } = await findNewest(location);
  if (found !== undefined) return path.join(found.path, 'model');
  throw new TierraError('E_CHECKPOINT', `${location}: no model here`, {
    hint: 'Give a run folder, a checkpoint (step-N), or a Hugging Face folder with config.json and safetensors.',
  });
}
