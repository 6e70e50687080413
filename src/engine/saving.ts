/** Checkpoints of an engine: a Hugging Face folder, the optimizer's state, and everything an exact resume needs. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/index.ts';
import type { DataPosition } from '../data/index.ts';
import { type BuiltModel, hfConfigText, hfName, safetensorsDtype, withDtype } from '../models/index.ts';
import type { StateEntry } from '../offload/store.ts';
import { type Dtype, dtypeBytes } from '../tensor/index.ts';
import type { TensorDeclaration } from '../tensor/safetensors/index.ts';
import { onAllRanks, onFirstRank } from './agreement.ts';
import type { SmallFile } from './checkpoint/commitWorker.ts';
import {
  type CheckpointFileWriter,
  commitParts,
  contentFile,
  copiedFile,
  currentRunId,
  type JsonValue,
  type KeepPolicy,
  type ManifestFields,
  prepareParts,
  sliceFiles,
  type TensorEntry,
  type TensorSlice,
  tensorFiles,
  type WrittenCheckpoint,
  writeCheckpoint,
  writePart,
} from './checkpoint/index.ts';
import type { Engine } from './engine.ts';
import { runsOf, wholeShape } from './globalSlices.ts';
import type { Peers } from './ranks.ts';

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

/**
 * Writes `<output>/checkpoints/step-N` while training waits. `model/` in it is a plain Hugging Face folder where one rank
 * holds all; ranks that hold parts write theirs, at the same time. Every rank calls it; all return when the checkpoint is
 * there, or throw.
 */
export function saveCheckpoint(
  engine: AnyEngine,
  context: SaveContext,
  position: DataPosition,
): Promise<WrittenCheckpoint> {
  const { config } = context;
  const { ranks, steps: step } = engine;
  const { output } = config.train;
  const entries = engine.store.stateEntries();
  const fields = manifestFieldsFor(engine, context, position);
  const policy = policyOf(config);
  const small = smallFilesFor(context, engine.context.dtype).map((file) =>
    'text' in file ? contentFile(file.path, file.text) : copiedFile(file.path, file.from),
  );
  const { everyone } = ranks;
  const { zero, pp, tp, ep } = config.parallel;
  if ((zero === 0 || ranks.groups === null) && pp === 1 && tp === 1 && ep === 1) {
    const files = [...small, ...wholeTensors(entries, context)];
    return onFirstRank(everyone, () => writeCheckpoint(output, step, { manifestFields: fields, files }, policy));
  }
  const own = entries.filter(({ parameter }) => engine.answers(parameter));
  const isWriter = own.length > 0;
  const writing = everyone.exchange(isWriter);
  const part = {
    writer: writing.slice(0, everyone.rank).filter(Boolean).length,
    writers: writing.filter(Boolean).length,
  };
  const files = isWriter ? [...(everyone.rank === 0 ? small : []), ...partTensors(own, context, part)] : [];
  return saveTogether(everyone, { output, step, fields, policy, files, isWriter, ...part });
}

interface Together {
  readonly output: string;
  readonly step: number;
  readonly fields: ManifestFields;
  readonly policy: KeepPolicy;
  readonly files: readonly CheckpointFileWriter[];
  readonly isWriter: boolean;
  readonly writer: number;
  readonly writers: number;
}

async function saveTogether(ranks: Peers, together: Together): Promise<WrittenCheckpoint> {
  const { output, step, fields, policy, files, isWriter, writer, writers } = together;
  const shared = { output, step, writers, runId: ranks.exchange(currentRunId())[0]! };
  const [needBytes] = ranks.sum([files.reduce((sum, { bytes }) => sum + bytes, 0)]) as [number];
  await onFirstRank(ranks, () => prepareParts(shared, needBytes));
  await onAllRanks(ranks, async () => {
    if (isWriter) await writePart(shared, writer, files);
  });
  return onFirstRank(ranks, () => commitParts(shared, fields, policy));
}

const isWeight = ({ kind }: StateEntry): boolean => kind === 'weight';

function wholeTensors(entries: readonly StateEntry[], { built }: SaveContext): CheckpointFileWriter[] {
  const tensor = (state: StateEntry): TensorEntry => ({
    ...tensorDeclaration(built, state),
    read: (into, byteOffset) => state.read(into, byteOffset),
  });
  const states = entries.filter((entry) => !isWeight(entry)).map(tensor);
  return [
    tensorFiles('model', entries.filter(isWeight).map(tensor)),
    ...(states.length > 0 ? [tensorFiles('optimizer', states)] : []),
  ];
}

/** Also where this rank holds nothing of a kind: the number of files says how many wrote. */
function partTensors(
  entries: readonly StateEntry[],
  { built }: SaveContext,
  part: { readonly writer: number; readonly writers: number },
): CheckpointFileWriter[] {
  const slices = (state: StateEntry): TensorSlice[] => {
    const size = dtypeBytes(state.dtype);
    return runsOf(state).map(({ begin, offset, elements }) => ({
      ...tensorDeclaration(built, state),
      begin,
      elements,
      read: (into, byteOffset) => state.read(into, offset * size + byteOffset),
    }));
  };
  const states = entries.filter((entry) => !isWeight(entry));
  return [
    sliceFiles('model', part, entries.filter(isWeight).flatMap(slices)),
    sliceFiles('optimizer', part, states.flatMap(slices)),
  ];
}

/** A state tensor as it is called in a checkpoint. */
export function tensorDeclaration(
  { family }: BuiltModel,
  { parameter, kind, dtype, shape = wholeShape(parameter) }: Pick<StateEntry, 'parameter' | 'kind' | 'dtype' | 'shape'>,
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
  const text = hfConfigText(withDtype(built.hfConfig, dtype));
  const { tokenizer } = config.data;
  const folder = tokenizer.endsWith('.json') ? path.dirname(tokenizer) : tokenizer;
  const copies = tokenizer === 'byte' ? [] : tokenizerFiles.filter((name) => existsSync(path.join(folder, name)));
  return [
    { path: 'model/config.json', text },
    ...copies.map((name) => ({ path: `model/${name}`, from: path.resolve(folder, name) })),
  ];
}
