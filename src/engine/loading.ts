/** From a checkpoint folder back into an engine. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { TierraError } from '../core/errors.ts';
import { MiB } from '../core/units.ts';
import type { DataPosition } from '../data/index.ts';
import { type BuiltModel, hfName, safetensorsDtype } from '../models/index.ts';
import { native } from '../native/load.ts';
import type { AnyModule } from '../nn/index.ts';
import type { StateEntry } from '../offload/store.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope } from '../tensor/index.ts';
import type { TensorSource } from '../tensor/safetensors/index.ts';
import { type Manifest, openTensors, readManifest } from './checkpoint/index.ts';
import { changesBetween } from './differences.ts';
import type { Engine, EngineProgress } from './engine.ts';
import { runsOf, wholeShape } from './globalSlices.ts';

// biome-ignore lint/suspicious/noExplicitAny: an engine of any model
type AnyEngine = Engine<any, any, any>;

/** What a loaded checkpoint says about where training stood. */
export interface LoadedCheckpoint {
  readonly step: number;
  readonly position: DataPosition;
  readonly manifest: Manifest;
}

/**
 * Loads weights and optimizer state into the engine's store, wherever its bytes live, and sets its step. Throws
 * `E_CHECKPOINT` when the checkpoint is of another model, optimizer or precision, before anything is changed.
 */
export function loadCheckpoint(engine: AnyEngine, folder: string, built: BuiltModel): LoadedCheckpoint {
  const manifest = readManifest(folder);
  checkModel(folder, built);
  checkOptimizer(folder, manifest, engine);
  const model = openTensors(path.join(folder, 'model'), 'model');
  const hasState = existsSync(path.join(folder, 'optimizer'));
  const optimizer = hasState ? openTensors(path.join(folder, 'optimizer'), 'optimizer') : null;
  try {
    if (optimizer !== null) engine.store.prepareState();
    const entries = engine.store.stateEntries();
    const places = entries
      .filter(({ kind }) => kind === 'weight' || optimizer !== null)
      .map((entry) => {
        const name = hfName(built.family, entry.parameter.name);
        const place =
          entry.kind === 'weight'
            ? { source: model, name, entry }
            : { source: optimizer!, name: `${name}.${entry.kind}`, entry };
        checkEntry(place, folder);
        return place;
      });
    const names = engine.ranks.everyone.size > 1 ? namesOfAll(engine, places, built) : null;
    for (const source of [model, optimizer]) {
      const own = places.filter((place) => place.source === source).map(({ name }) => name);
      // A rank that holds nothing leaves the question to those that do.
      if (source !== null && places.length > 0) checkNothingLeft(source, names ?? own, folder);
    }
    for (const place of places) copyEntry(place);
    if (optimizer === null) beginStates(entries, model, built, engine.context.dtype);
  } finally {
    model.close();
    optimizer?.close();
  }
  engine.steps = manifest.step;
  engine.progress = progressOf(manifest);
  return { step: manifest.step, position: manifest.dataPosition as unknown as DataPosition, manifest };
}

/** Checkpoints from before skipped steps were counted say nothing about them: their Adam counted all steps. */
function progressOf({ optimizer, scaler }: Manifest): EngineProgress {
  const skipped = (optimizer as { readonly skipped?: unknown } | null)?.skipped;
  return {
    skipped: typeof skipped === 'number' ? skipped : 0,
    scaler: scaler as unknown as EngineProgress['scaler'],
  };
}

interface Place {
  readonly source: TensorSource;
  readonly name: string;
  readonly entry: StateEntry;
}

const otherHint =
  'Use the settings it was made with, give train.output another folder, or start afresh with train.resume: never.';

/** Fields of a model's configuration that may change within a run. */
const mayChange = /drop|initializer|dtype|version/;

/** Shapes alone do not tell models apart: the number of heads, for one, is not in them. */
function checkModel(folder: string, built: BuiltModel): void {
  const saved = JSON.parse(readFileSync(path.join(folder, 'model', 'config.json'), 'utf8')) as Record<string, unknown>;
  const changes = changesBetween(saved, built.hfConfig).filter((change) => !mayChange.test(change));
  if (changes.length === 0) return;
  throw new TierraError('E_CHECKPOINT', `${folder} is of another model: ${changes.join('; ')}`, { hint: otherHint });
}

function checkOptimizer(folder: string, manifest: Manifest, engine: AnyEngine): void {
  const saved = (manifest.optimizer as { readonly name?: unknown } | null)?.name;
  const here = engine.optimizerRule;
  if (saved === here) return;
  throw new TierraError('E_CHECKPOINT', `${folder} holds the state of ${saved}, this run's optimizer is ${here}`, {
    hint: otherHint,
  });
}

function checkEntry({ source, name, entry }: Place, folder: string): void {
  const info = source.names().includes(name) ? source.info(name) : undefined;
  const shape = entry.shape ?? wholeShape(entry.parameter);
  const dtype = safetensorsDtype(entry.dtype);
  if (info !== undefined && info.shape.join() === shape.join() && info.dtype === dtype) return;
  const found = info === undefined ? 'is not there' : `is ${info.dtype} [${info.shape}]`;
  throw new TierraError('E_CHECKPOINT', `${folder}: ${name} ${found}; this run needs ${dtype} [${shape}]`, {
    hint: `The checkpoint is of another model, precision, optimizer.states or set of trained parameters. ${otherHint}`,
  });
}

/** A rank that holds parts has no place for some tensors, which belong to other ranks. */
function namesOfAll(engine: AnyEngine, places: readonly Place[], { family }: BuiltModel): string[] {
  const kinds = new Set(places.map(({ entry: { kind } }) => (kind === 'weight' ? '' : `.${kind}`)));
  const parameters = (engine.model as AnyModule).parameters();
  return parameters.flatMap(({ name }) => Array.from(kinds, (kind) => hfName(family, name) + kind));
}

function checkNothingLeft(source: TensorSource, names: readonly string[], folder: string): void {
  const used = new Set(names);
  const left = source.names().filter((name) => !used.has(name));
  if (left.length === 0) return;
  const what = left.length === 1 ? `${left[0]}, which` : `${left.length} tensors, such as ${left[0]}, that`;
  throw new TierraError('E_CHECKPOINT', `${folder} holds ${what} this run has no place for`, { hint: otherHint });
}

const pieceBytes = 8 * MiB;

function copyEntry({ source, name, entry }: Place): void {
  const size = dtypeBytes(entry.dtype);
  const buffer = new Uint8Array(Math.min(pieceBytes, entry.bytes));
  for (const [begin, offset, elements] of pieces(entry)) {
    const piece = buffer.subarray(0, elements * size);
    source.readInto(name, piece, begin * size);
    entry.write(piece, offset * size);
  }
}

/** The checkpoint is from before any step or of a model that is not trained: masters are its weights, of type `dtype`, and there are no moments yet. */
function beginStates(entries: readonly StateEntry[], model: TensorSource, { family }: BuiltModel, dtype: Dtype): void {
  for (const entry of entries) {
    if (entry.kind === 'weight') continue;
    for (const [begin, offset, elements] of pieces(entry)) {
      const state =
        entry.kind === 'master'
          ? widened(model, hfName(family, entry.parameter.name), begin, elements, { from: dtype, to: entry.dtype })
          : new Uint8Array(elements * dtypeBytes(entry.dtype));
      entry.write(state, offset * dtypeBytes(entry.dtype));
    }
  }
}

function widened(
  source: TensorSource,
  name: string,
  begin: number,
  elements: number,
  { from, to }: { readonly from: Dtype; readonly to: Dtype },
): Uint8Array {
  const bytes = new Uint8Array(elements * dtypeBytes(from));
  source.readInto(name, bytes, begin * dtypeBytes(from));
  return noGrad(() =>
    scope(() => ops.toBytes(ops.to(adopt(native().fromBytes(bytes, [elements], dtypeCode(from))), { dtype: to }))),
  );
}

/** What is copied at a time: its first element in the whole tensor and in the entry, and how many there are. */
function* pieces(entry: StateEntry): Generator<readonly [begin: number, offset: number, elements: number]> {
  const most = pieceBytes / dtypeBytes(entry.dtype);
  for (const { begin, offset, elements } of runsOf(entry)) {
    for (let done = 0; done < elements; done += most)
      yield [begin + done, offset + done, Math.min(most, elements - done)];
  }
}
