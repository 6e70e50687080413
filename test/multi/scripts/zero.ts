/** Trains the cases it is given, each on all ranks together, and tells what came of them. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ConfigInput } from '../../../src/config/index.ts';
import { isTierraError } from '../../../src/core/errors.ts';
import type { CollectiveCounter, Communicator } from '../../../src/dist/index.ts';
import { makeMesh } from '../../../src/dist/mesh.ts';
import { layFlats, slicesOf } from '../../../src/dist/zero/flats.ts';
import { ReplicatedStore, ShardedStore } from '../../../src/dist/zero/index.ts';
import { type Engine, initialize, launch } from '../../../src/engine/index.ts';
import { type DataRanks, divideRanks, noOtherRanks } from '../../../src/engine/ranks.ts';
import { updateScheduleFor } from '../../../src/engine/updateSchedule.ts';
import type { BudgetChange } from '../../../src/memory/fit.ts';
import { Gpt2, type TokenBatch } from '../../../src/models/index.ts';
import { native } from '../../../src/native/load.ts';
import { type AnyModule, collectUnits, Linear, Module, type Parameter } from '../../../src/nn/index.ts';
import { ChunkStore } from '../../../src/offload/chunked/chunkStore.ts';
import type { ParameterStore } from '../../../src/offload/store.ts';
import { ops, scope, type Tensor } from '../../../src/tensor/index.ts';
import { tinyGpt2 } from '../../cases/models.ts';
import { settings } from '../../native/engineSupport.ts';
import { inFp32 } from '../../native/tiersSupport.ts';
import { pagesIn, rowsOf } from '../rankSupport.ts';

export interface ZeroCase {
  readonly name: string;
  readonly config: ConfigInput;
  readonly steps: number;
  /** Where this rank's part lives. Default: all on the compute device. */
  readonly tiers?: 'tight' | 'disk';
  readonly model?: 'gpt' | 'halfUsed';
  /** Of the model; default 48. */
  readonly width?: number;
  /** Rows of a global micro-batch. */
  readonly rows: number;
  /** For one process: each micro-batch is this many, which are the parts that so many ranks would have. */
  readonly cut?: number;
  /** First values are fp32 ones that are no values of the initialisers. */
  readonly given?: boolean;
  /** A step (from 0) whose loss on rank `nan` is no number. */
  readonly nan?: { readonly rank: number; readonly step: number };
}

export interface ZeroResult {
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly clipped: number;
  readonly nonFinite: readonly (string | null)[];
  /** SHA-1 of every 4096 elements that this rank holds: `name kind`, then the first element. */
  readonly pages: Readonly<Record<string, Readonly<Record<number, string>>>>;
  /** What each collective brought to this rank in the last step. */
  readonly counters: Readonly<Record<string, CollectiveCounter>>;
  /** Of libtorch, before the engine was made and between two steps. */
  readonly allocated: { readonly before: number; readonly after: number };
  readonly arenas: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

// biome-ignore lint/suspicious/noExplicitAny: an engine of any model
type AnyEngine = Engine<any, Tensor, Tensor>;

/** Groups with settings of their own, one of them frozen. */
const groups = [
  { match: 'ln_|norm', learningRate: 5e-3 },
  { match: 'blocks\\.1\\.', frozen: true },
];

let width = 48;
const gpt = (): AnyModule => new Gpt2(tinyGpt2({ n_embd: width, n_head: 4, ...dropouts }));
let dropouts: Partial<ReturnType<typeof tinyGpt2>> = {};

/** A unit that uses its second layer on rank 0 alone, and its third never. */
class Choice extends Module<[Tensor], Tensor> {
  readonly always = new Linear(3, 3);
  readonly sometimes = new Linear(3, 3);
  readonly never = new Linear(3, 3);
  readonly #rank: number;

  constructor(rank: number) {
    super();
    this.#rank = rank;
  }

  forward(x: Tensor): Tensor {
    const always = ops.sum(this.always.call(x));
    return this.#rank === 0 ? ops.add(always, ops.sum(this.sometimes.call(x))) : always;
  }
}

class HalfUsed extends Module<[TokenBatch], Tensor> {
  readonly inner: Gpt2;
  readonly choice: Choice;

  constructor(rank: number) {
    super();
    this.inner = new Gpt2(tinyGpt2({ n_embd: 48, n_head: 4 }));
    this.choice = new Choice(rank).unit();
  }

  forward(batch: TokenBatch): Tensor {
    const extra = this.choice.call(ops.ones([3], { dtype: 'float64' }));
    return ops.add(this.inner.call(batch), ops.mul(extra, 1e-2));
  }
}

export function run(communicator: Communicator | null, cases: readonly ZeroCase[]): Record<string, ZeroResult> {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-zero-'));
  try {
    return Object.fromEntries(cases.map((each) => [each.name, runCase(communicator, each, folder)]));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The configuration of a case, before its memory is placed. */
function configOf({ config }: ZeroCase): ConfigInput {
  return {
    precision: 'fp64',
    ...config,
    optimizer: { learningRate: 1e-2, groups, ...config.optimizer },
    train: { clipNorm: 1, ...config.train },
  };
}

/** The model of a case as the layout of shards sees it, and how many doubles each of `size` ranks tells of its norms. */
export function layoutOfCase(given: ZeroCase, size: number) {
  const context = launch(settings(configOf(given)));
  width = given.width ?? 48;
  const model = gpt();
  const units = collectUnits(model);
  const updates = updateScheduleFor(model, context.config, 1, context.dtype);
  const groupOf = (parameter: Parameter): number => updates.groupOf(parameter);
  const trainable = layFlats(units, groupOf).filter((flat) => flat.trainable);
  const numbers = Array.from({ length: size }, (_, rank) =>
    trainable
      .flatMap((flat) => slicesOf(flat, rank, size))
      .reduce((sum, { elements }) => sum + Math.ceil(elements / 4096) + 1, 0),
  );
  return { units, groupOf, parameters: model.parameters(), norms: Math.max(...numbers) };
}

function runCase(communicator: Communicator | null, given: ZeroCase, folder: string): ZeroResult {
  const { memory = {} } = given.config;
  const config = configOf(given);
  width = given.width ?? 48;
  const drop = given.name.includes('dropout') ? 0.1 : 0;
  dropouts = { resid_pdrop: drop, embd_pdrop: drop, attn_pdrop: drop };
  const placed = given.tiers === undefined ? memory : { ...memory, ...budgets(communicator, given, config, folder) };
  const before = native().memoryStats('cpu').allocatedBytes;
  const { engine, ranks } = start(communicator, given, { ...config, memory: placed });
  try {
    return {
      ...trainCase(engine, ranks, given),
      allocated: { before, after: native().memoryStats('cpu').allocatedBytes },
    };
  } finally {
    engine.dispose();
  }
}

function start(
  communicator: Communicator | null,
  given: ZeroCase,
  config: ConfigInput,
): { engine: AnyEngine; ranks: DataRanks } {
  const context = launch(settings(config));
  const ranks = communicator === null ? noOtherRanks : divideRanks(makeMesh(communicator, {}), context.config.parallel);
  const model = (given.model === 'halfUsed' ? new HalfUsed(ranks.rank) : gpt()) as Module<[TokenBatch], Tensor>;
  const criterion = (loss: Tensor, factor: Tensor): Tensor => ops.mul(loss, factor);
  const values = given.given === true ? { values: inFp32 } : {};
  return { engine: initialize({ context, model, criterion, ranks, ...values }) as AnyEngine, ranks };
}

/** Budgets of this rank for what the case is to show, from what planning says it takes. */
function budgets(communicator: Communicator | null, given: ZeroCase, config: ConfigInput, folder: string) {
  const ample = { gpu: '1GiB', cpu: '1GiB', chunkSize: 32 * 1024 };
  const batch = rowsOf(given.rows, 0, 0, 1);
  const memory = (changes: object): ConfigInput => ({ ...config, memory: { ...config.memory, ...ample, ...changes } });
  const all = start(communicator, given, memory({}));
  let gpu: number;
  try {
    all.engine.prepare(batch);
    const plan = chunks(all.engine.store).plan!;
    const room = all.engine.store.use()[0]!.budgetBytes - chunks(all.engine.store).use()[0]!.budgetBytes;
    gpu = room + plan.otherBytes.gpu + Math.round(0.3 * plan.arenaBytes.gpu);
  } finally {
    all.engine.dispose();
  }
  if (given.tiers === 'tight') return { ...ample, gpu };
  const nvme = { path: folder, size: '1GiB' };
  const least = start(communicator, given, memory({ gpu, cpu: '4KiB', nvme }));
  try {
    least.engine.prepare(batch);
  } catch (error) {
    if (!isTierraError(error, 'E_PLAN')) throw error;
    const change = (error.details.changes as readonly BudgetChange[]).find(({ tier }) => tier === 'host')!;
    return { ...ample, gpu, cpu: Math.round(1.03 * change.toBytes), nvme };
  } finally {
    least.engine.dispose();
    batch.ids.dispose();
    batch.labels!.dispose();
  }
  throw new Error('4 KiB of host memory were enough');
}

/** The store on chunks below a store that knows of ranks. */
function chunks(store: ParameterStore): ChunkStore {
  const below = store instanceof ShardedStore || store instanceof ReplicatedStore ? store.below : store;
  if (!(below instanceof ChunkStore)) throw new Error('this case is not on tiers');
  return below;
}

function trainCase(engine: AnyEngine, ranks: DataRanks, given: ZeroCase): Omit<ZeroResult, 'allocated'> {
  const losses: number[] = [];
  const norms: number[] = [];
  const nonFinite: (string | null)[] = [];
  let clipped = 0;
  engine.train();
  for (let step = 0; step < given.steps; step++) {
    if (step === given.steps - 1) ranks.groups?.copies.shards.resetCounters();
    engine.zeroGrad();
    const { cut = 1 } = given;
    const batches = Array.from({ length: engine.accumulate }, (_, micro) => {
      const index = Math.floor((step * engine.accumulate + micro) / cut);
      return cut > 1 ? rowsOf(given.rows, index, micro % cut, cut) : rowsOf(given.rows, index, ranks.rank, ranks.size);
    });
    const bad = given.nan?.rank === ranks.rank && given.nan.step === step;
    const own = scope(() =>
      engine.context.config.memory.accumulation === 'vertical'
        ? engine.runMicroBatches(batches).map((loss) => loss.item())
        : batches.map((batch) => {
            const loss = engine.forward(batch);
            engine.backward(bad ? notANumber(engine, loss) : loss);
            return loss.item();
          }),
    );
    const outcome = engine.step()!;
    for (const { ids, labels } of batches) {
      ids.dispose();
      labels!.dispose();
    }
    norms.push(outcome.gradientNorm);
    nonFinite.push(outcome.nonFinite);
    if (outcome.clipFactor < 1) clipped++;
    losses.push(own.reduce((sum, loss) => sum + loss, 0) / own.length);
  }
  const counters = ranks.groups?.copies.shards.counters() ?? {};
  const means = ranks.sum(losses).map((loss) => loss / ranks.size);
  const tiers =
    engine.store instanceof ReplicatedStore || engine.store instanceof ShardedStore ? engine.store.below : engine.store;
  const arenas = tiers instanceof ChunkStore ? tiers.plan!.arenaBytes : {};
  return {
    losses: means,
    norms,
    clipped,
    nonFinite,
    pages: pagesOf(engine),
    counters,
    arenas,
    notes: engine.store.notes(),
  };
}

const notANumber = (engine: AnyEngine, loss: Tensor): Tensor =>
  engine.criterion(loss, ops.fromArray([Number.NaN], [], { dtype: 'float64' }));

function pagesOf(engine: AnyEngine): Record<string, Record<number, string>> {
  const pages: Record<string, Record<number, string>> = {};
  for (const entry of engine.store.stateEntries()) {
    const bytes = new Uint8Array(entry.bytes);
    entry.read(bytes, 0);
    const { size, count } = pagesIn(entry);
    const found: Record<number, string> = {};
    pages[`${entry.parameter.name} ${entry.kind}`] = found;
    for (let at = 0; at < entry.bytes; at += count * size) {
      const hash = createHash('sha1').update(bytes.subarray(at, at + count * size));
      found[(entry.part?.begin ?? 0) + at / size] = hash.digest('hex');
    }
  }
  return pages;
}
