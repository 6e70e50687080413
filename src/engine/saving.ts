/** Checkpoints of an engine: a Hugging Face folder, the optimizer's state, and everything an exact resume needs. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';
import { MiB } from '../core/units.ts';
import type { DataPosition } from '../data/index.ts';
import { type BuiltModel, hfName, safetensorsDtype, withDtype } from '../models/index.ts';
import type { StateEntry } from '../offload/store.ts';
import { openSafetensorsFolder, type TensorSource } from '../tensor/safetensors/index.ts';
import {
  type CheckpointFileWriter,
  contentFile,
  copiedFile,
  type JsonValue,
  readManifest,
  type TensorEntry,
  tensorFiles,
  type WrittenCheckpoint,
  writeCheckpoint,
} from './checkpoint/index.ts';
import type { Engine } from './engine.ts';

// biome-ignore lint/suspicious/noExplicitAny: an engine of any model
type AnyEngine = Engine<any, any>;

export interface SaveContext {
  readonly built: BuiltModel;
  readonly config: Config;
  readonly totalSteps: number;
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
  { built, config, totalSteps }: SaveContext,
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
    optimizer: { name: config.optimizer.name },
    scaler: null,
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

/** What a loaded checkpoint says about where training stood. */
export interface LoadedCheckpoint {
  readonly step: number;
  readonly position: DataPosition;
}

/** Loads weights and optimizer state into the engine's store, wherever its bytes live, and sets its step. */
export function loadCheckpoint(engine: AnyEngine, folder: string, built: BuiltModel): LoadedCheckpoint {
  const manifest = readManifest(folder);
  const model = openSafetensorsFolder(path.join(folder, 'model'));
  const hasState = existsSync(path.join(folder, 'optimizer'));
  const optimizer = hasState ? openSafetensorsFolder(path.join(folder, 'optimizer'), 'optimizer') : null;
  try {
    if (optimizer !== null) engine.store.prepareState();
    for (const entry of engine.store.stateEntries()) {
      const name = hfName(built.family, entry.parameter.name);
      if (entry.kind === 'weight') copyEntry(model, name, entry, folder);
      else if (optimizer !== null) copyEntry(optimizer, `${name}.${entry.kind}`, entry, folder);
    }
  } finally {
    model.close();
    optimizer?.close();
  }
  engine.steps = manifest.step;
  return { step: manifest.step, position: manifest.dataPosition as unknown as DataPosition };
}

const pieceBytes = 8 * MiB;

function copyEntry(source: TensorSource, name: string, entry: StateEntry, folder: string): void {
  const info = source.names().includes(name) ? source.info(name) : undefined;
  const { shape } = entry.parameter;
  if (info === undefined || info.shape.join() !== shape.join() || info.dtype !== safetensorsDtype(entry.dtype)) {
    const found = info === undefined ? 'is not there' : `is ${info.dtype} [${info.shape}]`;
    throw new TierraError(
      'E_CHECKPOINT',
      `${folder}: ${name} ${found}; this run needs ${safetensorsDtype(entry.dtype)} [${shape}]`,
      {
        hint: 'The checkpoint is of another model, optimizer or precision. Use the settings it was made with, or start with train.resume: never.',
      },
    );
  }
  const buffer = new Uint8Array(Math.min(pieceBytes, entry.bytes));
  for (let offset = 0; offset < entry.bytes; offset += pieceBytes) {
    const piece = buffer.subarray(0, Math.min(pieceBytes, entry.bytes - offset));
    source.readInto(name, piece, offset);
    entry.write(piece, offset);
  }
}
