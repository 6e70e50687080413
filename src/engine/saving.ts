/** Checkpoints of an engine: a Hugging Face folder, the optimizer's state, and everything an exact resume needs. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/index.ts';
import type { DataPosition } from '../data/index.ts';
import { type BuiltModel, hfName, safetensorsDtype, withDtype } from '../models/index.ts';
import type { StateEntry } from '../offload/store.ts';
import type { Dtype } from '../tensor/index.ts';
import type { TensorDeclaration } from '../tensor/safetensors/index.ts';
import type { SmallFile } from './checkpoint/commitWorker.ts';
import {
  type CheckpointFileWriter,
  contentFile,
  copiedFile,
  type JsonValue,
  type KeepPolicy,
  type ManifestFields,
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

/** Writes `<output>/checkpoints/step-N` while training waits. `model/` in it is a plain Hugging Face folder. */
export function saveCheckpoint(
  engine: AnyEngine,
  context: SaveContext,
  position: DataPosition,
): Promise<WrittenCheckpoint> {
  const entries = engine.store.stateEntries();
  const entry = (state: StateEntry): TensorEntry => ({
    ...tensorDeclaration(context.built, state),
    read: (into, byteOffset) => state.read(into, byteOffset),
  });
  const weights = entries.filter(({ kind }) => kind === 'weight').map(entry);
  const states = entries.filter(({ kind }) => kind !== 'weight').map(entry);
  const files: CheckpointFileWriter[] = [
    ...smallFilesFor(context, engine.context.dtype).map((file) =>
      'text' in file ? contentFile(file.path, file.text) : copiedFile(file.path, file.from),
    ),
    tensorFiles('model', weights),
    ...(states.length > 0 ? [tensorFiles('optimizer', states)] : []),
  ];
  const manifestFields = manifestFieldsFor(engine, context, position);
  const { config } = context;
  return writeCheckpoint(config.train.output, engine.steps, { manifestFields, files }, policyOf(config));
}

/** A state tensor as it is called in a checkpoint. */
export function tensorDeclaration(
  { family }: BuiltModel,
  { parameter, kind, dtype, shape = parameter.shape }: Pick<StateEntry, 'parameter' | 'kind' | 'dtype' | 'shape'>,
): TensorDeclaration {
  const name = hfName(family, parameter.name) + (kind === 'weight' ? '' : `.${kind}`);
  return { name, dtype: safetensorsDtype(dtype), shape };
}

/** Everything that is not a tensor, as it is now. */
export function manifestFieldsFor(
  engine: AnyEngine,
  { config, totalSteps, loss }: SaveContext,
  position: DataPosition,
): ManifestFields {
  return {
    config: JSON.parse(JSON.stringify(config)) as JsonValue,
    dataPosition: position as unknown as JsonValue,
    random: { seed: config.seed },
    schedule: { totalSteps },
    optimizer: { name: engine.optimizerRule, skipped: engine.progress.skipped },
    scaler: engine.progress.scaler as JsonValue,
    metrics: loss !== undefined && Number.isFinite(loss) ? { loss } : {},
  };
}

export function policyOf({ train: { keepLast, keepEvery } }: Config): KeepPolicy {
  return keepEvery === null ? { keepLast } : { keepLast, keepEvery };
}

/** `config.json` and the tokenizer's files. */
export function smallFilesFor({ built, config }: SaveContext, dtype: Dtype): readonly SmallFile[] {
  const text = `${JSON.stringify(withDtype(built.hfConfig, dtype), null, 2)}\n`;
  const { tokenizer } = config.data;
  const folder = tokenizer.endsWith('.json') ? path.dirname(tokenizer) : tokenizer;
  const copies = tokenizer === 'byte' ? [] : tokenizerFiles.filter((name) => existsSync(path.join(folder, name)));
  return [
    { path: 'model/config.json', text },
    ...copies.map((name) => ({ path: `model/${name}`, from: path.resolve(folder, name) })),
  ];
}
