import { TierraError } from '../core/errors.ts';
import type { DataSource } from '../data/index.ts';
import { scope, type Tensor } from '../tensor/index.ts';
import type { Engine } from './engine.ts';
import type { Hook, StepSummary } from './hooks.ts';

/** How a batch becomes a loss, and what it counts for. */
export interface Task<Batch> {
  /** In train mode called between `zeroGrad` and `backward`, in eval mode for evaluation. */
  loss(engine: Engine<never, unknown>, batch: Batch): Tensor;
  /** Tokens (or samples) in the batch, for throughput. */
  tokens(batch: Batch): number;
}

export interface TrainerOptions<Batch> {
  // biome-ignore lint/suspicious/noExplicitAny: an engine of any model; the task knows which
  readonly engine: Engine<any, any>;
  readonly task: Task<Batch>;
  readonly data: DataSource<Batch>;
  /** The number of completed optimizer steps at which training ends. */
  readonly totalSteps: number;
  readonly hooks?: readonly Hook[];
  /** Aborted to stop after the current step. */
  readonly signal?: AbortSignal;
}

/** The training loop: batches to steps, with hooks at every turn. */
export class Trainer<Batch = unknown> {
  // biome-ignore lint/suspicious/noExplicitAny: see TrainerOptions
  readonly engine: Engine<any, any>;
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

  /** True when training ended before `totalSteps`. */
  get interrupted(): boolean {
    return this.#stopped;
  }

  /** Ends training after the current step; hooks may call it. */
  stop(): void {
    this.#stopped = true;
  }

  /** Trains until `totalSteps` steps are done, or until stopped. */
  async fit(): Promise<void> {
    this.engine.train();
    await this.#each((hook) => hook.beforeTrain?.(this as Trainer));
    let epoch = -1;
    while (this.engine.steps < this.totalSteps && !this.#stopped) {
      if (this.data.epoch !== epoch) {
        const ended = epoch;
        epoch = this.data.epoch;
        if (ended >= 0) await this.#each((hook) => hook.afterEpoch?.(this as Trainer, ended));
        await this.#each((hook) => hook.beforeEpoch?.(this as Trainer, epoch));
      }
      await this.#each((hook) => hook.beforeStep?.(this as Trainer));
      const summary = await this.#step(epoch);
      await this.#each((hook) => hook.afterStep?.(this as Trainer, summary));
      await letEventsIn();
      if (this.#signal?.aborted) this.#stopped = true;
    }
    await this.#each((hook) => hook.afterTrain?.(this as Trainer));
  }

  async #step(epoch: number): Promise<StepSummary> {
    const { engine, task } = this;
    const began = performance.now();
    engine.zeroGrad();
    const losses: Tensor[] = [];
    let tokens = 0;
    for (let microBatch = 0; microBatch < engine.accumulate; microBatch++) {
      const batch = await this.data.next();
      const loss = task.loss(engine, batch);
      engine.backward(loss);
      losses.push(loss.keep());
      tokens += task.tokens(batch);
    }
    const outcome = engine.step();
    if (outcome === null) throw new TierraError('E_INTERNAL', 'a step ended before its last micro-batch');
    const values = losses.map((loss) => loss.item());
    for (const loss of losses) loss.dispose();
    const loss = values.reduce((sum, value) => sum + value, 0) / values.length;
    return { ...outcome, loss, tokens, seconds: (performance.now() - began) / 1e3, epoch };
  }

  /** Mean loss over up to `batches` batches of `data` in eval mode. */
  async evaluate(data: DataSource<Batch>, batches: number): Promise<number> {
    this.engine.eval();
    try {
      let sum = 0;
      for (let index = 0; index < batches; index++) {
        const batch = await data.next();
        sum += scope(() => this.task.loss(this.engine, batch).item());
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
