/** Checkpoints of an engine: a Hugging Face folder, the optimizer's state, and everything an exact resume needs. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/index.ts';
import type { DataPosition } from '../data/index.ts';
import { type BuiltModel, hfName, safetensorsDtype, withDtype } from '../models/index.ts';
import type { StateEntry } from '../offload/store.ts';
import {
  type CheckpointFileWriter,
  contentFile,
  copiedFile,
  type JsonValue,
  type TensorEntry,
  tensorFiles,
  type WrittenCheckpoint,
  writeCheckpoint,
} from './checkpoint/index.ts';
import type { Engine } from './engine.ts';

// biome-ignore lint/suspicious/noExplicitAny: an engine of any model
type AnyEngine = Engine<any, any, any>;

export interface SaveContext {
  readonly built: BuiltModel;
  readonly config: Config;
  readonly totalSteps: number;
  /** Loss of the step, for people who look at the checkpoint. */
  readonly loss?: number;
}

const tokenizerFiles = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'vocab.json',
  'merges.txt',
];

/** Writes `<output>/checkpoints/step-N`. `model/` in it is a plain Hugging Face folder. */
export function saveCheckpoint(
  engine: AnyEngine,
  { built, config, totalSteps, loss }: SaveContext,
  position: DataPosition,
): Promise<WrittenCheckpoint> {
  const entries = engine.store.stateEntries();
  const entry = (state: StateEntry, suffix: string): TensorEntry => ({
    name: hfName(built.family, state.parameter.name) + suffix,
    dtype: safetensorsDtype(state.dtype),
    shape: state.parameter.shape,
    read: (into, byteOffset) => state.read(into, byteOffset),
  });
  const weights = entries.filter(({ kind }) => kind === 'weight').map((state) => entry(state, ''));
  const states = entries.filter(({ kind }) => kind !== 'weight').map((state) => entry(state, `.${state.kind}`));
  const files: CheckpointFileWriter[] = [
    contentFile('model/config.json', withDtype(built.hfConfig, engine.context.dtype)),
    tensorFiles('model', weights),
    ...tokenizerCopies(config.data.tokenizer),
    ...(states.length > 0 ? [tensorFiles('optimizer', states)] : []),
  ];
  const manifestFields = {
    config: JSON.parse(JSON.stringify(config)) as JsonValue,
    dataPosition: position as unknown as JsonValue,
    random: { seed: config.seed },
    schedule: { totalSteps },
    optimizer: { name: engine.optimizerRule, skipped: engine.progress.skipped },
    scaler: engine.progress.scaler as JsonValue,
    metrics: loss !== undefined && Number.isFinite(loss) ? { loss } : {},
  };
  const policy = { keepLast: config.train.keepLast, keepEvery: config.train.keepEvery ?? undefined };
  return writeCheckpoint(config.train.output, engine.steps, { manifestFields, files }, definedOnly(policy));
}

function definedOnly(policy: { keepLast: number; keepEvery: number | undefined }): {
  keepLast: number;
  keepEvery?: number;
} {
  const { keepLast, keepEvery } = policy;
  return keepEvery === undefined ? { keepLast } : { keepLast, keepEvery };
}

function tokenizerCopies(tokenizer: string): CheckpointFileWriter[] {
  if (tokenizer === 'byte') return [];
  const folder = tokenizer.endsWith('.json') ? path.dirname(tokenizer) : tokenizer;
  return tokenizerFiles
    .filter((name) => existsSync(path.join(folder, name)))
    .map((name) => copiedFile(`model/${name}`, path.join(folder, name)));
}
