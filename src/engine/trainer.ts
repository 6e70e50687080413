import { TierraError } from '../core/errors.ts';
import type { DataSource } from '../data/index.ts';
import { closeScope, openScope, readLater, type Tensor } from '../tensor/index.ts';
import type { Engine, StepOutcome } from './engine.ts';
import type { Hook, StepSummary } from './hooks.ts';
import { nonFiniteError } from './numerics/nonFiniteError.ts';
import type { NonFiniteOrigin } from './numerics/origin.ts';
import { NonFinitePolicy, type NonFiniteSettings } from './numerics/policy.ts';
import { anyOf, meanOver } from './ranks.ts';

// biome-ignore lint/suspicious/noExplicitAny: an engine of any model; the task knows which
type AnyEngine = Engine<any, any, any>;

/** How a batch becomes a loss, and what it counts for. */
export interface Task<Batch> {
  /** In train mode called between `zeroGrad` and `backward`, in eval mode for evaluation. */
  loss(engine: AnyEngine, batch: Batch): Tensor;
  /** What the model is called with, where it returns its loss: lets the engine choose the order of micro-batches. */
  input?(batch: Batch): unknown;
  /** Tokens (or samples) in the batch, for throughput. */
  tokens(batch: Batch): number;
}

export interface TrainerOptions<Batch> {
  readonly engine: AnyEngine;
  readonly task: Task<Batch>;
  /** Tensors that `next()` makes are freed at the end of the step; a source that hands one out again must `keep()` it. */
  readonly data: DataSource<Batch>;
  /** The number of completed optimizer steps at which training ends. */
  readonly totalSteps: number;
  readonly hooks?: readonly Hook[];
  /** Aborted to stop after the current step. */
  readonly signal?: AbortSignal;
  /** The run's checkpoints, for `train.nonFinite`. */
  readonly recovery?: Recovery;
}

/** Where a run can go back to. */
export interface Recovery {
  /** The last checkpoint, for people; null without one. */
  last(): string | null;
  /** Takes engine and data back to it. */
  rewind(): Promise<void>;
}

/** The training loop: batches to steps, with hooks at every turn. */
export class Trainer<Batch = unknown> {
  readonly engine: AnyEngine;
  readonly task: Task<Batch>;
  readonly data: DataSource<Batch>;
  readonly totalSteps: number;
  readonly #hooks: readonly Hook[];
  readonly #signal: AbortSignal | undefined;
  readonly #recovery: Recovery | null;
  readonly #nonFinite: NonFiniteSettings;
  readonly #policy: NonFinitePolicy;
  /** Places in the data whose batches are left out: steps that ended in a rewind. */
  readonly #leftOut = new Set<string>();
  /** Where the data stood before the step under way. */
  #stepBegan = '';
  #stopped = false;
  /** What all ranks have agreed on. */
  #stopping = false;

  constructor(options: TrainerOptions<Batch>) {
    this.engine = options.engine;
    this.task = options.task;
    this.data = options.data;
    this.totalSteps = options.totalSteps;
    this.#hooks = options.hooks ?? [];
    this.#signal = options.signal;
    this.#recovery = options.recovery ?? null;
    const { nonFinite, nonFiniteLimit } = this.engine.context.config.train;
    this.#nonFinite = { action: nonFinite, limit: nonFiniteLimit };
    this.#policy = new NonFinitePolicy(this.#nonFinite);
  }

  /** True when training was asked to end before `totalSteps`. */
  get interrupted(): boolean {
    return this.#stopping && this.engine.steps < this.totalSteps;
  }

  /** Ends training after the current step; hooks may call it. */
  stop(): void {
    this.#stopped = true;
  }

  /**
   * Trains until `totalSteps` steps are done, or until stopped. What a hook, the data or the model throws ends training
   * at once: the unfinished step is dropped, the error passed on, and no further hook runs.
   */
  async fit(): Promise<void> {
    this.engine.train();
    this.#stopped = false;
    this.#stopping = false;
    try {
      await this.#run();
    } catch (error) {
      this.engine.cancelStep();
      throw error;
    }
  }

  async #run(): Promise<void> {
    const { engine, data, totalSteps } = this;
    await this.#each((hook) => hook.beforeTrain?.(this as Trainer));
    let epoch = -1;
    const endEpoch = async (ended: number): Promise<void> => {
      if (ended < 0 || data.epoch === ended) return;
      await this.#each((hook) => hook.afterEpoch?.(this as Trainer, ended));
    };
    while (engine.steps < totalSteps && !this.#agreeToStop()) {
      if (data.epoch !== epoch) {
        await endEpoch(epoch);
        const begun: number = data.epoch;
        epoch = begun;
        await this.#each((hook) => hook.beforeEpoch?.(this as Trainer, begun));
      }
      await this.#each((hook) => hook.beforeStep?.(this as Trainer));
      const summary = await this.#step(epoch);
      if (await this.#rewound(summary)) {
        epoch = -1;
        continue;
      }
      await this.#each((hook) => hook.afterStep?.(this as Trainer, summary));
      await letEventsIn();
    }
    await endEpoch(epoch);
    await this.#each((hook) => hook.afterTrain?.(this as Trainer));
  }

  /** Between steps: when one rank was asked to stop, all do. */
  #agreeToStop(): boolean {
    this.#stopping = anyOf(this.engine.ranks.everyone, this.#stopped || this.#signal?.aborted === true);
    return this.#stopping;
  }

  /** Acts on infinite and NaN numbers. True when the run went back: the step does not count. Throws `E_NUMERICS` to stop. */
  async #rewound(summary: StepSummary): Promise<boolean> {
    const { step, origin } = summary;
    if (origin === null) {
      if (!summary.overflow) this.#policy.good(step);
      return false;
    }
    const last = this.#recovery?.last() ?? null;
    const wanted = this.#policy.bad(step);
    const action = wanted === 'rewind' && last === null ? 'stop' : wanted;
    await this.#each((hook) => hook.onNonFinite?.(this as Trainer, summary, action));
    if (action === 'stop') throw nonFiniteError(summary, this.#nonFinite, this.#policy, last);
    if (action === 'skip') return false;
    this.#leftOut.add(this.#stepBegan);
    await this.#recovery!.rewind();
    return true;
  }

  /** The micro-batches of the next step. */
  async #nextBatches(): Promise<Batch[]> {
    const { engine, data } = this;
    for (;;) {
      const { epoch, sample } = data.position();
      this.#stepBegan = `${epoch}:${sample}`;
      const batches: Batch[] = [];
      while (batches.length < engine.accumulate) batches.push(await data.next());
      if (!this.#leftOut.has(this.#stepBegan)) return batches;
    }
  }

  async #step(epoch: number): Promise<StepSummary> {
    const { engine, task } = this;
    const began = performance.now();
    engine.zeroGrad();
    const batches = await this.#nextBatches();
    const losses = task.input === undefined ? this.#oneByOne(batches) : engine.runMicroBatches(batches.map(task.input));
    // By the time it is asked for, the update may be under way: the device need not be done with it.
    const readLosses = readLater(losses);
    const ownTokens = batches.reduce((sum, batch) => sum + task.tokens(batch), 0);
    let loss = Number.NaN;
    let tokens = 0;
    let origin: NonFiniteOrigin | null = null;
    const outcome = engine.step((ended) => {
      const ownLoss = readLosses().reduce((sum, each) => sum + each, 0) / losses.length;
      const { size, rows } = engine.ranks;
      // Ranks that share sequences have been given the same rows.
      [loss, tokens] = engine.ranks.sum([ownLoss / size, (ownTokens * rows.size) / size]) as [number, number];
      if (!this.#isBad(ended, loss)) return;
      const lossOf = (microBatch: number): Tensor => task.loss(engine, batches[microBatch]!);
      const { nonFinite, nonFiniteParameters = nonFinite === null ? [] : [nonFinite] } = ended;
      origin = engine.findNonFinite(batches.length, lossOf, nonFiniteParameters);
    });
    if (outcome === null) throw new TierraError('E_INTERNAL', 'a step ended before its last micro-batch');
    return { ...outcome, loss, tokens, seconds: (performance.now() - began) / 1e3, epoch, origin };
  }

  /** All ranks come to the same answer: they share the norm and the mean loss. */
  #isBad({ nonFinite, overflow }: StepOutcome, loss: number): boolean {
    return !Number.isFinite(loss) || (nonFinite !== null && !overflow);
  }

  #oneByOne(batches: readonly Batch[]): Tensor[] {
    return batches.map((batch) => {
      const loss = this.task.loss(this.engine, batch);
      this.engine.backward(loss);
      return loss;
    });
  }

  /** Mean loss over `batches` batches of `data` in eval mode, and over the ranks' parts of them. */
  async evaluate(data: DataSource<Batch>, batches: number): Promise<number> {
    this.engine.eval();
    try {
      let sum = 0;
      for (let index = 0; index < batches; index++) {
        const temporaries = openScope();
        try {
          sum += this.task.loss(this.engine, await data.next()).item();
        } finally {
          closeScope(temporaries);
        }
      }
      return meanOver(this.engine.ranks, sum / batches);
    } finally {
      this.engine.train();
    }
  }

  async #each(call: (hook: Hook) => void | Promise<void> | undefined): Promise<void> {
    for (const hook of this.#hooks) await call(hook);
  }
}

/** Lets signals and timers run between steps, which are synchronous work. */
const letEventsIn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
