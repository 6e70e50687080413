/** One training run under any placement, and everything about it that must not depend on the placement. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ConfigInput } from '../../src/config/index.ts';
import { isTierraError } from '../../src/core/errors.ts';
import { type Engine, initialize, launch } from '../../src/engine/index.ts';
import type { BudgetChange } from '../../src/memory/fit.ts';
import type { Plan } from '../../src/memory/plan.ts';
import { Gpt2, type TokenBatch } from '../../src/models/index.ts';
import {
  type AnyModule,
  Dropout,
  Embedding,
  initialValues,
  LayerNorm,
  Linear,
  Module,
  type ValueSource,
} from '../../src/nn/index.ts';
import { crossEntropy } from '../../src/nn/losses.ts';
import { isSequenceModel } from '../../src/nn/sequence.ts';
import { ChunkStore } from '../../src/offload/chunked/chunkStore.ts';
import { ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { tinyGpt2 } from '../cases/models.ts';
import {
  type MemoryInput,
  type ModelBytes,
  type OrderBytes,
  type PlacementCase,
  tightGpu,
  verticalGpu,
} from '../cases/placements.ts';
import { settings, tokens, where } from './engineSupport.ts';

// biome-ignore lint/suspicious/noExplicitAny: an engine of any model
export type AnyEngine = Engine<any, Tensor, Tensor>;

export interface Scenario {
  readonly name: string;
  readonly config: ConfigInput;
  readonly model: () => AnyModule;
  readonly chunkSize: number;
  readonly steps: number;
  /** First values; default: the initialisers'. */
  readonly values?: ValueSource;
}

/** Values as an fp32 checkpoint gives them: bf16 and fp16 have no room for most of them. */
export const inFp32: ValueSource = (parameter) => initialValues(parameter, 23, 'float32');

/** Gives the test a folder on disk and takes it away. */
export function withFolder<T>(body: (folder: string) => T): T {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-tiers-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  let result: T;
  try {
    result = body(folder);
  } catch (error) {
    remove();
    throw error;
  }
  if (result instanceof Promise) return result.finally(remove) as T;
  remove();
  return result;
}

export const gpt = (dropout = 0.1): Gpt2 =>
  new Gpt2(tinyGpt2({ n_embd: 32, n_head: 4, resid_pdrop: dropout, embd_pdrop: dropout, attn_pdrop: dropout }));

/** A free-form model: one unit is used twice, and its output skips over another. */
export class Twice extends Module<[TokenBatch], Tensor> {
  readonly embedding = new Embedding(61, 48).unit();
  readonly shared: Shared = new Shared(48).unit();
  readonly between = [0, 1, 2, 3].map(() => new Shared(48).unit());
  readonly head = new Linear(48, 61).unit();

  forward({ ids, labels }: TokenBatch): Tensor {
    const first = this.shared.call(this.embedding.call(ids));
    const between = this.between.reduce((x, block) => block.call(x), first);
    const second = this.shared.call(between);
    const logits = this.head.call(ops.add(first, second));
    return crossEntropy(ops.reshape(logits, [-1, 61]), ops.reshape(labels!, [-1]));
  }
}

class Shared extends Module<[Tensor], Tensor> {
  readonly norm: LayerNorm;
  readonly wide: Linear;
  readonly narrow: Linear;
  readonly drop = new Dropout(0.1);

  constructor(width: number) {
    super();
    this.norm = new LayerNorm(width);
    this.wide = new Linear(width, 2 * width);
    this.narrow = new Linear(2 * width, width);
  }

  forward(x: Tensor): Tensor {
    return ops.add(x, this.drop.call(this.narrow.call(ops.tanh(this.wide.call(this.norm.call(x))))));
  }
}

/** An engine whose criterion multiplies the model's loss: with NaN, a step whose gradients are no numbers. */
export function start(scenario: Scenario, memory: MemoryInput): AnyEngine {
  const { config, model, chunkSize, values } = scenario;
  const placed =
    Object.keys(memory).length === 0
      ? {}
      : { memory: { accumulation: 'horizontal' as const, ...config.memory, ...memory, chunkSize } };
  const context = launch(settings({ ...config, ...placed }));
  const criterion = (loss: Tensor, factor: Tensor): Tensor => ops.mul(loss, factor);
  const given = values === undefined ? {} : { values };
  return initialize({ context, model: model() as Module<[TokenBatch], Tensor>, criterion, ...given }) as AnyEngine;
}

/** The plan of an engine on tiers. */
export function planOf(engine: AnyEngine): Plan {
  if (!(engine.store instanceof ChunkStore) || engine.store.plan === null) throw new Error('nothing is planned');
  return engine.store.plan;
}

/** What the scenario's model takes in each order of its micro-batches, measured by planning it with room for everything, and with none. */
export function measure(scenario: Scenario): ModelBytes {
  const isVertical = (scenario.config.train?.accumulate ?? 1) > 1 && isSequenceModel(scenario.model());
  const horizontal = measureOrder(scenario, 'horizontal');
  return { ...horizontal, vertical: isVertical ? measureOrder(scenario, 'vertical') : null };
}

function measureOrder(scenario: Scenario, accumulation: 'horizontal' | 'vertical'): OrderBytes {
  const batch = batchOf(0);
  const all = start(scenario, { gpu: '1GiB', cpu: '1GiB', accumulation });
  try {
    all.prepare(batch);
    const { otherBytes, arenaBytes } = planOf(all);
    const whole = { other: otherBytes.gpu, chunks: arenaBytes.gpu, leastHost: 0 };
    return { ...whole, leastHost: leastHost(scenario, whole, accumulation, batch) };
  } finally {
    all.dispose();
    drop(batch);
  }
}

/**
 * The least host memory that works beside a tight GPU and a large disk: what the planner asks for when it has almost none. The GPU is
 * a little tighter than where it is used, since what else lies there differs by some KiB from run to run.
 */
function leastHost(
  scenario: Scenario,
  bytes: OrderBytes,
  accumulation: 'horizontal' | 'vertical',
  batch: TokenBatch,
): number {
  return withFolder((path) => {
    const nvme = { path, size: '1GiB' };
    const gpu = Math.round(0.97 * (accumulation === 'vertical' ? verticalGpu(bytes) : tightGpu(bytes)));
    const engine = start(scenario, { gpu, cpu: '4KiB', nvme, accumulation });
    try {
      engine.prepare(batch);
    } catch (error) {
      if (!isTierraError(error, 'E_PLAN')) throw error;
      const changes = error.details.changes as readonly BudgetChange[];
      return changes.find(({ tier }) => tier === 'host')!.toBytes;
    } finally {
      engine.dispose();
    }
    throw new Error('4 KiB of host memory were enough');
  });
}

/** Micro-batch `index`: two sequences of 16 tokens. */
export const batchOf = (index: number): TokenBatch & { labels: Tensor } => tokens(2, 16, index + 1);

export function drop({ ids, labels }: TokenBatch): void {
  ids.dispose();
  labels?.dispose();
}

export interface StepRecord {
  readonly losses: readonly number[];
  readonly norm: number;
  readonly clipFactor: number;
  readonly nonFinite: string | null;
  readonly lossScale: number;
  readonly overflow: boolean;
}

/** One whole optimizer step on the micro-batches that belong to it, or to step `data`. */
export function trainStep(engine: AnyEngine, factor = 1, data = engine.steps): StepRecord {
  engine.train();
  engine.zeroGrad();
  const batches = batchesOf(engine, data);
  try {
    const losses = isVertical(engine)
      ? scope(() => engine.runMicroBatches(batches).map((loss) => loss.item()))
      : batches.map((batch) =>
          scope(() => {
            const loss = engine.criterion(engine.forward(batch), scalar(factor));
            engine.backward(loss);
            return loss.item();
          }),
        );
    const { gradientNorm, clipFactor, nonFinite, lossScale, overflow } = engine.step()!;
    return { losses, norm: gradientNorm, clipFactor, nonFinite, lossScale, overflow };
  } finally {
    batches.forEach(drop);
  }
}

const isVertical = (engine: AnyEngine): boolean => engine.context.config.memory.accumulation === 'vertical';

const batchesOf = ({ accumulate }: AnyEngine, step: number): TokenBatch[] =>
  Array.from({ length: accumulate }, (_, micro) => batchOf(step * accumulate + micro));

export const scalar = (value: number): Tensor => ops.fromArray([value], [], where);

/** A step's beginning: forward and backward of its first micro-batch (of all, in the vertical order), and no more. */
export function beginStep(engine: AnyEngine): void {
  engine.train();
  engine.zeroGrad();
  const batches = batchesOf(engine, 99);
  scope(() => {
    if (isVertical(engine)) engine.runMicroBatches(batches);
    else engine.backward(engine.criterion(engine.forward(batches[0]), scalar(1)));
  });
  batches.forEach(drop);
}

/** The loss in eval mode. */
export function evaluate(engine: AnyEngine, index: number): number {
  const batch = batchOf(index);
  const loss = scope(() => engine.eval().forward(batch).item());
  drop(batch);
  engine.train();
  return loss;
}

/** SHA-256 of every weight, master and moment, by name. */
export function hashesOf(engine: AnyEngine): Record<string, string> {
  return Object.fromEntries(
    engine.store.stateEntries().map((entry) => {
      const bytes = new Uint8Array(entry.bytes);
      entry.read(bytes, 0);
      return [`${entry.parameter.name} ${entry.kind}`, createHash('sha256').update(bytes).digest('hex')];
    }),
  );
}

/** Trains a scenario to its end in a placement (none: everything resident) and returns all that counts. */
export function record(
  scenario: Scenario,
  memory: MemoryInput,
  course: (engine: AnyEngine, steps: number) => unknown = trainSteps,
): { readonly seen: unknown; readonly hashes: Record<string, string>; readonly plan: Plan | null } {
  const engine = start(scenario, memory);
  try {
    const seen = course(engine, scenario.steps);
    const plan = engine.store instanceof ChunkStore ? engine.store.plan : null;
    return { seen, hashes: hashesOf(engine), plan };
  } finally {
    engine.dispose();
  }
}

export const trainSteps = (engine: AnyEngine, steps: number): StepRecord[] =>
  Array.from({ length: steps }, () => trainStep(engine));

/**
 * The same under `placement`, which is checked to be what its name says. Plans follow measured times: on a machine that is busy
 * with other things the first one may be another than the name says, so a few are tried.
 */
export function recordPlaced(
  scenario: Scenario,
  placement: PlacementCase,
  bytes: ModelBytes,
  folder: string,
  course?: (engine: AnyEngine, steps: number) => unknown,
): { readonly seen: unknown; readonly hashes: Record<string, string>; readonly plan: Plan } {
  for (let attempt = 1; ; attempt++) {
    const { seen, hashes, plan } = record(scenario, placement.memory(bytes, folder), course);
    try {
      placement.check(plan!);
    } catch (error) {
      if (attempt < 5) continue;
      throw error;
    }
    return { seen, hashes, plan: plan! };
  }
}

/** Groups with settings of their own, one of them frozen. */
const groups = [
  { match: 'ln_|norm', learningRate: 5e-3 },
  { match: 'h\\.1\\.|blocks\\.1\\.|between\\.1\\.', frozen: true },
  { match: 'embedding', weightDecay: 0.3 },
];

export const scenario = (name: string, config: ConfigInput, changes: Partial<Scenario> = {}): Scenario => ({
  name,
  config: {
    ...config,
    optimizer: { learningRate: 1e-2, groups, ...config.optimizer },
    schedule: { name: 'cosine', warmupSteps: 2, ...config.schedule },
  },
  model: () => gpt(),
  chunkSize: 32 * 1024,
  steps: 6,
  ...changes,
});
