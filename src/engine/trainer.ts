import { TierraError } from '../core/errors.ts';
import type { DataSource } from '../data/index.ts';
import { closeScope, openScope, type Tensor } from '../tensor/index.ts';
import type { Engine } from './engine.ts';
import type { Hook, StepSummary } from './hooks.ts';

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
}

/** The training loop: batches to steps, with hooks at every turn. */
export class Trainer<Batch = unknown> {
  readonly engine: AnyEngine;
  readonly task: Task<Batch>;
  readonly data: DataSource<Batch>;
  readonly totalSteps: number;
  readonly #hooks: readonly Hook[];
  readonly #signal: AbortSignal | undefined;
  #stopped = false;

  constructor(options: TrainerOptions<Batch>) {
    this.engine = options.engine;
    this.task = options.task;
    this.data = options.data;
    this.totalSteps = options.totalSteps;
    this.#hooks = options.hooks ?? [];
    this.#signal = options.signal;
  }

  /** True when training was asked to end before `totalSteps`. */
  get interrupted(): boolean {
    return this.#shouldStop && this.engine.steps < this.totalSteps;
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
    while (engine.steps < totalSteps && !this.#shouldStop) {
      if (data.epoch !== epoch) {
        await endEpoch(epoch);
        const begun: number = data.epoch;
        epoch = begun;
        await this.#each((hook) => hook.beforeEpoch?.(this as Trainer, begun));
      }
      await this.#each((hook) => hook.beforeStep?.(this as Trainer));
      const summary = await this.#step(epoch);
      await this.#each((hook) => hook.afterStep?.(this as Trainer, summary));
      await letEventsIn();
    }
    await endEpoch(epoch);
    await this.#each((hook) => hook.afterTrain?.(this as Trainer));
  }

  get #shouldStop(): boolean {
    return this.#stopped || this.#signal?.aborted === true;
  }

  async #step(epoch: number): Promise<StepSummary> {
    const { engine, task } = this;
    const began = performance.now();
    engine.zeroGrad();
    const batches: Batch[] = [];
    while (batches.length < engine.accumulate) batches.push(await this.data.next());
    const losses = task.input === undefined ? this.#oneByOne(batches) : engine.runMicroBatches(batches.map(task.input));
    const tokens = batches.reduce((sum, batch) => sum + task.tokens(batch), 0);
    // Read once and last: on a GPU each reading waits for the device.
    const owned = losses.map((loss) => loss.retain());
    try {
      const outcome = engine.step();
      if (outcome === null) throw new TierraError('E_INTERNAL', 'a step ended before its last micro-batch');
      const loss = owned.reduce((sum, each) => sum + each.item(), 0) / owned.length;
      return { ...outcome, loss, tokens, seconds: (performance.now() - began) / 1e3, epoch };
    } finally {
      for (const loss of owned) loss.dispose();
    }
  }

  #oneByOne(batches: readonly Batch[]): Tensor[] {
    return batches.map((batch) => {
      const loss = this.task.loss(this.engine, batch);
      this.engine.backward(loss);
      return loss;
    });
  }

  /** Mean loss over up to `batches` batches of `data` in eval mode. */
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
      return sum / batches;
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
