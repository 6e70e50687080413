import { check, TierraError } from '../core/errors.ts';
import { faultPoint } from '../core/faults.ts';
import { noteStep, readWhereabouts, whereaboutsMemory } from '../core/whereabouts.ts';
import type { PipelineStep } from '../dist/pipeline/index.ts';
import type { UpdateRule } from '../native/binding.ts';
import {
  type AnyModule,
  ForwardRunner,
  type Module,
  type Parameter,
  randomKeys,
  type TakenValues,
  Tape,
  type Unit,
  type UnitHost,
  watching,
  withRunner,
} from '../nn/index.ts';
import { isSequenceModel, type SequenceModel } from '../nn/sequence.ts';
import {
  Departure,
  type ParameterStore,
  type Rehearsal,
  type StepCourse,
  type TierUse,
  type TraceRun,
  type UpdateResult,
} from '../offload/store.ts';
import { isFloating, noGrad, ops, scope, type Tensor } from '../tensor/index.ts';
import { closeScope, forEachTensor, openScope, type Scope } from '../tensor/scope.ts';
import { MicroBatchGraphs } from './graphs/microBatchGraphs.ts';
import type { Context } from './launch.ts';
import { allFinite, CheckingRunner, originOf } from './numerics/checkingRunner.ts';
import { gradientOrigin, type NonFiniteOrigin } from './numerics/origin.ts';
import { explainOutOfMemory } from './outOfMemory.ts';
import type { EnginePipeline } from './pipelining.ts';
import type { LossScaleState } from './precision/lossScale.ts';
import { type DataRanks, noOtherRanks } from './ranks.ts';
import type { UpdateSchedule } from './updateSchedule.ts';
import { runVertical } from './vertical.ts';
import { beat } from './watchdog.ts';

/** A scalar loss from what the model returned and a label. */
export type Criterion<Output = Tensor, Label = Tensor> = (output: Output, label: Label) => Tensor;

export interface EngineParts<Input, Output, Label> {
  readonly context: Context;
  readonly model: Module<[Input], Output>;
  readonly store: ParameterStore;
  readonly updates: UpdateSchedule;
  readonly criterion: Criterion<Output, Label> | null;
  /** The model's units, in order. */
  readonly units: readonly Unit[];
  /** Order over the micro-batches of a step; `auto` is horizontal for `forward` and chosen for `runMicroBatches`. */
  readonly accumulation: 'auto' | 'horizontal' | 'vertical';
  /** Where other ranks hold other stages of the model. */
  readonly pipeline?: EnginePipeline<Input>;
  /** Who trains on each batch. Default: nobody else. */
  readonly ranks?: DataRanks;
  /** Which of its parameters this rank writes, where others have copies of them. Default: all. */
  readonly answers?: (parameter: Parameter) => boolean;
  /** What parameters held before the store was made, as long as it may still ask for it. */
  readonly taken?: TakenValues;
}

/** See `Engine.progress`. */
export interface EngineProgress {
  /** Steps so far that updated nothing: Adam's t is smaller by as much. */
  readonly skipped: number;
  /** The loss scaler's state; null without one. */
  readonly scaler: LossScaleState | null;
}

/** What `step()` did. */
export interface StepOutcome extends UpdateResult {
  /** Optimizer steps done so far, this one included. */
  readonly step: number;
  readonly learningRate: number;
  /** What the losses of this step were multiplied with: 1 except in fp16. */
  readonly lossScale: number;
  /** Gradients left the range of fp16 and the loss scale can fall: nothing was updated, and nothing is wrong. */
  readonly overflow: boolean;
}

/**
 * One training step at a time: `zeroGrad`, then for each micro-batch `forward`, `criterion`, `backward`, then `step`.
 * Tensors made between `zeroGrad` and the completed `step` are freed at its end: read losses before, or `keep()` them.
 * After an error in the middle of a step `zeroGrad` starts anew; `cancelStep` only clears up.
 */
export class Engine<Input = Tensor, Output = Tensor, Label = Tensor> {
  readonly context: Context;
  readonly model: Module<[Input], Output>;
  readonly store: ParameterStore;
  /** Who trains on each batch with this process. */
  readonly ranks: DataRanks;
  /** Whether this rank writes a parameter that it holds into checkpoints. */
  readonly answers: (parameter: Parameter) => boolean;
  readonly #taken: TakenValues | null;
  readonly #updates: UpdateSchedule;
  readonly #criterion: Criterion<Output, Label> | null;
  #accumulate: number;
  readonly #units: readonly Unit[];
  readonly #pipeline: EnginePipeline<Input> | null;
  readonly #graphs: MicroBatchGraphs<Input> | null;
  #accumulation: 'auto' | 'horizontal' | 'vertical';
  #tape: Tape;
  #scope: Scope | null = null;
  #steps = 0;
  /** Micro-batches of this step that went through `backward`. */
  #microBatch = 0;
  /** The micro-batch whose random keys are in force, -1 between steps. */
  #keyed = -1;
  #training = true;
  /** Set while `findNonFinite` runs: forward passes are looked at and not recorded. */
  #checking: CheckingRunner | null = null;
  /** Elements of the largest micro-batch so far. */
  #largestInput = 0;

  constructor(parts: EngineParts<Input, Output, Label>) {
    this.context = parts.context;
    this.model = parts.model;
    this.store = parts.store;
    this.ranks = parts.ranks ?? noOtherRanks;
    this.answers = parts.answers ?? (() => true);
    this.#taken = parts.taken ?? null;
    this.#updates = parts.updates;
    this.#criterion = parts.criterion;
    this.#accumulate = parts.context.config.train.accumulate;
    this.#units = parts.units;
    this.#pipeline = parts.pipeline ?? null;
    this.#accumulation = parts.accumulation;
    this.#tape = new Tape(this.store);
    this.#graphs = this.#pipeline === null ? new MicroBatchGraphs(this.context, this.model, this.store) : null;
  }

  /** What a person should know of this run beside what the store says; it may come with the first steps. */
  get notes(): readonly string[] {
    const note = this.#graphs?.note ?? null;
    return note === null ? [] : [note];
  }

  /** Whether micro-batches are replayed as a graph of launches: `runtime.graphs`. */
  get isReplaying(): boolean {
    return this.#graphs?.isRecorded ?? false;
  }

  /** Optimizer steps done. */
  get steps(): number {
    return this.#steps;
  }

  /** For resuming: the number of optimizer steps that the loaded state has seen. Throws `E_STATE` within a step. */
  set steps(count: number) {
    if (this.#microBatch > 0) throw new TierraError('E_STATE', 'engine.steps can only be set between steps');
    this.#steps = count;
  }

  /** What an exact continuation needs to know beside the tensors and `steps`: plain JSON, for checkpoints. */
  get progress(): EngineProgress {
    return { skipped: this.#updates.skipped, scaler: this.#updates.scaler?.state ?? null };
  }

  /** Throws `E_STATE` within a step, `E_CHECKPOINT` for a malformed scaler. A saved scaler means nothing to runs that are not in fp16. */
  set progress({ skipped, scaler }: EngineProgress) {
    if (this.#microBatch > 0) throw new TierraError('E_STATE', 'engine.progress can only be set between steps');
    if (scaler !== null) this.#updates.scaler?.restore(scaler);
    this.#updates.skipped = skipped;
  }

  /** Micro-batches per optimizer step. */
  get accumulate(): number {
    return this.#accumulate;
  }

  /** From the next step on. The learning rate does not follow. Throws `E_STATE` within a step. */
  set accumulate(count: number) {
    check(Number.isInteger(count) && count > 0, `engine.accumulate must be a whole number from 1 on, got ${count}`);
    if (this.#keyed >= 0) throw new TierraError('E_STATE', 'engine.accumulate can only be set between steps');
    this.#accumulate = count;
  }

  /** The learning rate of the next step (of the first parameter group). */
  get learningRate(): number {
    return this.#updates.learningRate(this.#steps);
  }

  /** The update rule in force: `adamw`, `sgd` or `lion`. */
  get optimizerRule(): UpdateRule {
    return this.#updates.optimizer.rule;
  }

  /** Train mode: dropout drops, `forward` records for `backward`. */
  train(on = true): this {
    this.#training = on;
    (this.model as AnyModule).train(on);
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** Starts a step; what an unfinished one left is dropped. */
  zeroGrad(): void {
    this.cancelStep();
    noteStep(this.#steps + 1);
    this.#scope = openScope();
  }

  /** Drops an unfinished step: its graph, its gradients and the tensors made since it began. */
  cancelStep(): void {
    this.#microBatch = 0;
    this.#keyed = -1;
    this.#tape.clear();
    this.store.zeroGradients();
    const open = this.#scope;
    this.#scope = null;
    if (open !== null) closeScope(open);
  }

  /**
   * Runs the model. In train mode the call is recorded; in eval mode nothing is kept and no graph is made. Across pipeline
   * stages all ranks call it with the same input and get the same output; training there takes `runMicroBatches`.
   */
  forward(input: Input): Output {
    const checking = this.#checking;
    if (checking !== null) return noGrad(() => withRunner(checking, () => this.model.call(input)));
    if (!this.#training) return this.#evaluate(input);
    if (this.#pipeline !== null) {
      throw new TierraError('E_STATE', 'engine.forward: a pipeline trains all micro-batches of a step together', {
        hint: 'Call engine.runMicroBatches(inputs) with a model that returns its loss.',
      });
    }
    if (this.#accumulation === 'auto') this.#accumulation = 'horizontal';
    if (this.#accumulation === 'vertical') {
      throw new TierraError('E_STATE', 'engine.forward: vertical accumulation needs all micro-batches at once', {
        hint: 'Call engine.runMicroBatches(inputs), or set memory.accumulation: horizontal.',
      });
    }
    return this.#guard('forward', () => {
      this.#beginMicroBatch(input);
      return this.#recordForward(input);
    });
  }

  #evaluate(input: Input): Output {
    if (this.#pipeline !== null) return this.#pipeline.forward([input])[0] as Output;
    return noGrad(() => withRunner(new ForwardRunner(this.store), () => this.model.call(input)));
  }

  /** Where the micro-batch takes another course than planned it begins anew, under a plan for that course. */
  #recordForward(input: Input): Output {
    const isFirst = this.#tape.length === 0;
    for (let attempt = 1; ; attempt++) {
      const inner = openScope();
      try {
        const output = this.#tape.record(() => this.model.call(input));
        closeScope(inner, [...inner.tensors]);
        return output;
      } catch (error) {
        closeScope(inner);
        if (!(error instanceof Departure) || !isFirst || attempt > mostAttempts) throw error;
        this.#tape.clear();
        this.#depart(input);
      }
    }
  }

  #depart(input: Input): void {
    this.store.depart?.(this.#microBatch, this.#course, (host) => this.#trace(host, input));
    randomKeys.begin({ seed: this.context.config.seed, step: this.#steps, microBatch: this.#microBatch });
  }

  get #course(): StepCourse {
    const inputElements = this.#largestInput;
    return { microBatches: this.#accumulate, accumulation: this.#order, inputElements };
  }

  /**
   * Forward and backward of all micro-batches of a step, for models that return their loss: one after another, or unit
   * by unit where `memory.accumulation` says so. Returns the losses; `step` comes next.
   */
  runMicroBatches(inputs: readonly Input[]): Tensor[] {
    const pipeline = this.#pipeline;
    if (pipeline !== null) return this.#guard('pipeline step', () => this.#runPipeline(pipeline, inputs));
    // The plan is made for the largest.
    const largest = inputs.reduce((a, b) => (elementsOf(b) > elementsOf(a) ? b : a));
    if (this.#order === 'horizontal') {
      if (this.#keyed < 0) this.prepare(largest, { together: true });
      return inputs.map((input) => this.#runMicroBatch(input));
    }
    return this.#guard('vertical', () => {
      this.#beginMicroBatch(largest);
      const model = this.model as unknown as SequenceModel<Input>;
      return this.#together(inputs, (step) => runVertical({ model, units: this.#units, host: this.store, ...step }));
    });
  }

  /** Operator by operator, or as a graph of launches. */
  #runMicroBatch(input: Input): Tensor {
    const plain = (): Tensor => {
      const loss = this.forward(input) as unknown as Tensor;
      this.backward(loss);
      return loss;
    };
    const graphs = this.#graphs;
    if (graphs === null || !this.#training) return plain();
    const begin = (): void =>
      this.#guard('forward', () => {
        this.#beginMicroBatch(input);
        this.#key();
      });
    const done = (): void => void this.#microBatch++;
    return graphs.run({ input, scale: this.#lossWeight, plain, begin, done });
  }

  #runPipeline(pipeline: EnginePipeline<Input>, inputs: readonly Input[]): Tensor[] {
    if (inputs.length !== this.#accumulate) {
      throw new TierraError(
        'E_ARGUMENT',
        `engine.runMicroBatches: got ${inputs.length} micro-batches, train.accumulate is ${this.#accumulate}`,
        { hint: 'A pipeline schedule is made for all micro-batches of a step.' },
      );
    }
    this.#beginMicroBatch(inputs[0]!);
    return this.#together(inputs, (step) => pipeline.runStep(step));
  }

  /** All micro-batches of the step that has begun, by one who walks them in an order of its own. */
  #together(inputs: readonly Input[], run: (step: PipelineStep<Input>) => Tensor[]): Tensor[] {
    const losses = run({
      batches: inputs,
      seed: this.context.config.seed,
      step: this.#steps,
      scale: this.#lossWeight,
      keyOf: (microBatch) => this.#keyOf(microBatch),
    });
    this.#microBatch = inputs.length;
    return losses;
  }

  /** Weight of each micro-batch's loss in backward: the mean over micro-batches and over ranks, times the loss scale. */
  get #lossWeight(): number {
    return this.#updates.lossScale / (this.#accumulate * this.ranks.size);
  }

  /** Ranks draw different random numbers: as if their micro-batches were one process's, rank by rank. */
  #keyOf(microBatch: number): number {
    return microBatch * this.ranks.size + this.ranks.rank;
  }

  /** The order in force; `auto` becomes vertical where that saves traffic and the model is a sequence of units. */
  get #order(): 'horizontal' | 'vertical' {
    if (this.#accumulation === 'auto') {
      const saves = this.#accumulate > 1 && this.store.moves && isSequenceModel(this.model);
      this.#accumulation = saves && this.model.stages === this.#units.length ? 'vertical' : 'horizontal';
    }
    return this.#accumulation;
  }

  /** The loss of `output` under the criterion given to `initialize`. */
  criterion(output: Output, label: Label): Tensor {
    const criterion = this.#criterion;
    if (criterion === null) {
      throw new TierraError('E_STATE', 'engine.criterion: no criterion was given', {
        hint: 'Pass criterion to initialize(…), or let the model return its loss.',
      });
    }
    if (!this.#training || this.#checking !== null) return noGrad(() => criterion(output, label));
    return this.#guard('criterion', () => this.#tape.record(() => criterion(output, label)));
  }

  /** Walks the tape back from the loss; gradients are averaged over the step's micro-batches, and over ranks. */
  backward(loss: Tensor | readonly Tensor[]): void {
    if (!this.#training) {
      throw new TierraError('E_STATE', 'engine.backward: the engine is in eval mode', {
        hint: 'Call engine.train() before the forward pass that you want gradients of.',
      });
    }
    if (this.#microBatch >= this.#accumulate) throw this.#tooMany('backward');
    this.#guard('backward', () => this.#tape.backward(loss, { scale: this.#lossWeight }));
    this.#microBatch++;
  }

  /**
   * Clips and updates once all micro-batches of the step are in; returns null before that. With infinite or NaN
   * gradients nothing is updated and `nonFinite` names the first parameter; the step still counts, except in Adam's t.
   * `inspect` is called before the step's tensors are freed.
   */
  step(inspect?: (outcome: StepOutcome) => void): StepOutcome | null {
    if (this.#microBatch === 0) {
      throw new TierraError('E_STATE', 'engine.step: backward has not been called since the last step', {
        hint: 'A step is zeroGrad, then forward, criterion and backward for each micro-batch, then step.',
      });
    }
    if (this.#microBatch < this.#accumulate) return null;
    const { learningRate } = this;
    const { lossScale } = this.#updates;
    const result = this.#guard('update', () => this.store.applyUpdate());
    const overflow = this.#updates.stepEnded(result.nonFinite !== null);
    this.#steps++;
    const outcome = { ...result, step: this.#steps, learningRate, lossScale, overflow };
    try {
      inspect?.(outcome);
    } finally {
      this.cancelStep();
    }
    return outcome;
  }

  /**
   * Where the infinite or NaN numbers of the last step came from: runs its forward passes again, with the same random
   * numbers, and looks at all that crosses a unit's edge. `loss` makes the loss of a micro-batch, as in the step.
   * `suspects` are the parameters with bad gradients. Call it from `inspect` or after `step`, with the inputs still there.
   */
  findNonFinite(
    microBatches: number,
    loss: (microBatch: number) => Tensor,
    suspects: readonly string[] = [],
  ): NonFiniteOrigin {
    // Ranks would have to look in step, and a rank of a pipeline sees a part of the model only.
    if (this.#pipeline !== null || this.context.world.size > 1) return gradientOrigin(this.#units, suspects);
    for (let microBatch = 0; microBatch < microBatches; microBatch++) {
      randomKeys.begin({ seed: this.context.config.seed, step: this.#steps - 1, microBatch: this.#keyOf(microBatch) });
      const checking = new CheckingRunner(this.store);
      this.#checking = checking;
      try {
        const lossIsFinite = scope(() => allFinite(loss(microBatch)));
        // Ranks go on to the next micro-batch together, and name what the first of them found.
        const found = this.ranks
          .exchange(originOf(checking.found, lossIsFinite, microBatch))
          .find((each) => each !== null);
        if (found !== undefined) return found!;
      } finally {
        this.#checking = null;
      }
    }
    return gradientOrigin(this.#units, suspects);
  }

  #beginMicroBatch(input: Input): void {
    if (this.#microBatch >= this.#accumulate) throw this.#tooMany('forward');
    if (this.#keyed === this.#microBatch) return; // a further forward pass of the same micro-batch
    if (this.#keyed < 0) {
      this.prepare(input, { together: true });
      this.#scope ??= openScope();
      this.store.beginStep(this.#steps);
    } else if (elementsOf(input) > this.#largestInput) {
      this.#largestInput = elementsOf(input);
      this.#depart(input);
    }
    this.#keyed = this.#microBatch;
    this.#key();
  }

  /** Units of the micro-batch that begins count their uses, and draw their random numbers, from the beginning. */
  #key(): void {
    const microBatch = this.#keyOf(this.#microBatch);
    randomKeys.begin({ seed: this.context.config.seed, step: this.#steps, microBatch });
  }

  #tooMany(call: string): TierraError {
    const count = this.#accumulate === 1 ? 'its one micro-batch' : `its ${this.#accumulate} micro-batches`;
    return new TierraError('E_STATE', `engine.${call}: this step already has ${count}`, {
      hint: 'Call engine.step() after every train.accumulate calls of backward, or zeroGrad() to start over.',
    });
  }

  #guard<Result>(doing: string, body: () => Result): Result {
    beat(`${doing} of step ${this.#steps + 1}`);
    faultPoint(`step.${doing}`);
    try {
      return body();
    } catch (error) {
      const { unit } = readWhereabouts(whereaboutsMemory);
      const where = { doing: `${doing} of step ${this.#steps + 1}`, unit, use: useOf(this.store) };
      throw explainOutOfMemory(error, where, this.context.config);
    }
  }

  /**
   * Gives the parameters their places, which may take a look at one micro-batch first: `input` has the shape that
   * training will use. The first `forward` or `runMicroBatches` does it by itself; call it before to load a checkpoint
   * or to evaluate, and say whether `runMicroBatches` will follow.
   */
  prepare(input: Input, options: { readonly together?: boolean } = {}): void {
    if (this.#pipeline !== null) {
      this.#pipeline.prepare(input);
      return;
    }
    if (options.together !== true && this.#accumulation === 'auto') this.#accumulation = 'horizontal';
    this.#largestInput = Math.max(this.#largestInput, elementsOf(input));
    this.#guard('preparation', () => this.store.prepare(this.#course, (host) => this.#trace(host, input)));
  }

  /** What `prepare` would plan for `input`, without taking memory for it; null where nothing is planned. Throws `E_PLAN` as it would. */
  rehearse(input: Input): Rehearsal | null {
    this.#largestInput = Math.max(this.#largestInput, elementsOf(input));
    const trace: TraceRun = (host) => this.#trace(host, input);
    return this.#guard('preparation', () => this.store.rehearse?.(this.#course, trace) ?? null);
  }

  /** The same where only forward passes follow: `input` is as large as any that will come. */
  prepareForward(input: Input): void {
    if (this.#pipeline !== null) {
      this.#pipeline.prepareForward(input);
      return;
    }
    this.store.prepareForward((host) => {
      watching(() => scope(() => noGrad(() => withRunner(new ForwardRunner(host), () => void this.model.call(input)))));
    });
  }

  /** One micro-batch for a store to watch; any scalar that depends on the whole output stands in for the loss. */
  #trace(host: UnitHost, input: Input): void {
    const tape = new Tape(host);
    try {
      scope(() => {
        randomKeys.begin({ seed: this.context.config.seed, step: this.#steps, microBatch: this.#microBatch });
        watching(() => tape.backward(tape.record(() => totalOf(this.model.call(input)))));
      });
    } finally {
      tape.clear();
    }
  }

  dispose(): void {
    this.cancelStep();
    this.#graphs?.dispose();
    this.store.dispose();
    this.#taken?.free();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** What the tiers hold; nothing of a store that failed before it had any. */
function useOf(store: ParameterStore): TierUse[] {
  try {
    return store.use();
  } catch {
    return [];
  }
}

/** The sum of every floating-point tensor in `output`. */
function totalOf(output: unknown): Tensor {
  const sums: Tensor[] = [];
  forEachTensor(output, (tensor) => {
    if (isFloating(tensor.dtype)) sums.push(ops.sum(tensor));
  });
  return sums.reduce((total, sum) => ops.add(total, sum));
}

/** Plans for one micro-batch, until its course is given up as one that changes with every run. */
const mostAttempts = 3;

function elementsOf(input: unknown): number {
  let elements = 0;
  forEachTensor(input, (tensor) => {
    elements += tensor.elements;
  });
  return elements;
}
