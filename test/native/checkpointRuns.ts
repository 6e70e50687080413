/** Runs that save behind training, and what a checkpoint must then hold. */
import path from 'node:path';
import { openTensors } from '../../src/engine/checkpoint/index.ts';
import { Checkpointer, type SaveReport } from '../../src/engine/checkpointer.ts';
import { loadCheckpoint } from '../../src/engine/loading.ts';
import { type BuiltModel, buildModel } from '../../src/models/index.ts';
import type { MemoryInput, PlacementCase } from '../cases/placements.ts';
import { type AnyEngine, hashesOf, type Scenario, type StepRecord, start, trainStep } from './tiersSupport.ts';

export const built = (): BuiltModel =>
  buildModel({
    architecture: 'gpt2',
    config: { vocab_size: 61, n_positions: 32, n_embd: 32, n_layer: 3, n_head: 4, resid_pdrop: 0.1 },
  });

export type Numbers = 'fp32' | 'bf16' | 'bf16, compressed';

/** Steps of which some are clipped; two micro-batches each. */
export function saveScenario(model: BuiltModel, output: string, numbers: Numbers = 'fp32'): Scenario {
  return {
    name: 'saves',
    config: {
      precision: numbers === 'fp32' ? 'fp32' : 'bf16',
      optimizer: { learningRate: 1e-2, states: numbers === 'bf16, compressed' ? 'compressed' : 'exact' },
      train: { clipNorm: 1.2, accumulate: 2, output, keepLast: 9 },
    },
    model: () => model.model,
    chunkSize: 8192,
    steps: 5,
  };
}

/** A placement with everything resident. */
export const resident = {};

export interface Run extends AsyncDisposable {
  readonly engine: AnyEngine;
  readonly checkpointer: Checkpointer;
  readonly reports: SaveReport[];
  readonly failures: unknown[];
  /** The checkpoint of a step. */
  path(step: number): string;
  load(folder: string): void;
}

/** An engine in a placement with its checkpointer. `memory.checkpoint` sizes the buffer. */
export function startRun(output: string, memory: MemoryInput, numbers: Numbers = 'fp32'): Run {
  const model = built();
  const scenario = saveScenario(model, output, numbers);
  const engine = start(scenario, memory);
  const reports: SaveReport[] = [];
  const failures: unknown[] = [];
  const { config } = engine.context;
  const checkpointer = new Checkpointer(
    engine,
    { built: model, config, totalSteps: scenario.steps },
    { saved: (report) => void reports.push(report), failed: (error) => void failures.push(error) },
  );
  return {
    engine,
    checkpointer,
    reports,
    failures,
    path: (step) => path.join(output, 'checkpoints', `step-${String(step).padStart(8, '0')}`),
    load: (folder) => void loadCheckpoint(engine, folder, model),
    async [Symbol.asyncDispose]() {
      await checkpointer.dispose();
      engine.dispose();
    },
  };
}

/** The position of a run that reads no data. */
export const nowhere = {} as never;

/** Every tensor of a checkpoint, by name. */
export function tensorsIn(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const part of ['model', 'optimizer']) {
    const source = openTensors(path.join(folder, part), part);
    for (const name of [...source.names()].sort()) {
      const bytes = new Uint8Array(source.info(name).bytes);
      source.readInto(name, bytes);
      found[name] = Buffer.from(bytes).toString('base64');
    }
    source.close();
  }
  return found;
}

export interface Course {
  readonly steps: readonly StepRecord[];
  readonly hashes: Record<string, string>;
}

/** What remains to step `steps`, and the state then. */
export function trainTo(engine: AnyEngine, steps: number): Course {
  const done: StepRecord[] = [];
  while (engine.steps < steps) done.push(trainStep(engine));
  return { steps: done, hashes: hashesOf(engine) };
}

export const memoryOf = (placement: PlacementCase | null, ...rest: Parameters<PlacementCase['memory']>): MemoryInput =>
  placement === null ? {} : placement.memory(...rest);
