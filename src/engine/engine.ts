import { check, TierraError } from '../core/errors.ts';
import { type AnyModule, ForwardRunner, type Module, randomKeys, Tape, withRunner } from '../nn/index.ts';
import type { ParameterStore, UpdateResult } from '../offload/store.ts';
import { noGrad, type Tensor } from '../tensor/index.ts';
import { closeScope, openScope, type Scope } from '../tensor/scope.ts';
import type { Context } from './launch.ts';
import type { UpdateSchedule } from './updateSchedule.ts';

export type Criterion = (output: Tensor, label: Tensor) => Tensor;

export interface EngineParts<Input, Output> {
  readonly context: Context;
  readonly model: Module<[Input], Output>;
  readonly store: ParameterStore;
  readonly updates: UpdateSchedule;
  readonly criterion: Criterion | null;
}

/** What `step()` did. */
export interface StepOutcome extends UpdateResult {
  /** Optimizer steps done so far, this one included. */
  readonly step: number;
  readonly learningRate: number;
}

/**
 * One training step at a time: `zeroGrad`, then for each micro-batch `forward`, `criterion`, `backward`, then `step`.
 * Everything made between `zeroGrad` and the completed `step` is freed at its end: read losses before, or `keep()`.
 */
export class Engine<Input = Tensor, Output = Tensor> {
  readonly context: Context;
  readonly model: Module<[Input], Output>;
  readonly store: ParameterStore;
  readonly #updates: UpdateSchedule;
  readonly #criterion: Criterion | null;
  readonly #accumulate: number;
  #tape: Tape;
  #scope: Scope | null = null;
  #steps = 0;
  #microBatch = 0;
  #training = true;

  constructor(parts: EngineParts<Input, Output>) {
    this.context = parts.context;
    this.model = parts.model;
    this.store = parts.store;
    this.#updates = parts.updates;
    this.#criterion = parts.criterion;
    this.#accumulate = parts.context.config.train.accumulate;
    this.#tape = new Tape(this.store);
  }

  /** Optimizer steps done. */
  get steps(): number {
    return this.#steps;
  }

  /** For resuming: the number of optimizer steps that the loaded state has seen. */
  set steps(count: number) {
    check(this.#microBatch === 0, 'engine.steps can only be set between steps');
    this.#steps = count;
  }

  /** Micro-batches per optimizer step. */
  get accumulate(): number {
    return this.#accumulate;
  }

  /** The learning rate of the next step (of the first parameter group). */
  get learningRate(): number {
    return this.#updates.learningRate(this.#steps);
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

  /** Starts a step: gradients of an unfinished one are dropped. */
  zeroGrad(): void {
    this.#endStep();
    this.#microBatch = 0;
  }

  /** Runs the model. In train mode the call is recorded; in eval mode nothing is kept and no graph is made. */
  forward(input: Input): Output {
    if (!this.#training) return noGrad(() => withRunner(new ForwardRunner(this.store), () => this.model.call(input)));
    this.#beginMicroBatch();
    return this.#tape.record(() => this.model.call(input));
  }

  /** The loss of `output` under the criterion given to `initialize`. */
  criterion(output: Tensor, label: Tensor): Tensor {
    const criterion = this.#criterion;
    if (criterion === null) {
      throw new TierraError('E_STATE', 'engine.criterion: no criterion was given', {
        hint: 'Pass criterion to initialize(…), or let the model return its loss.',
      });
    }
    return this.#training ? this.#tape.record(() => criterion(output, label)) : noGrad(() => criterion(output, label));
  }

  /** Walks the tape back from the loss; gradients are averaged over the step's micro-batches. */
  backward(loss: Tensor | readonly Tensor[]): void {
    this.#tape.backward(loss, { scale: 1 / this.#accumulate });
    this.#microBatch++;
  }

  /**
   * Clips and updates once all micro-batches of the step are in; returns null before that. With infinite or NaN
   * gradients nothing is updated and `nonFinite` names the first parameter.
   */
  step(): StepOutcome | null {
    check(this.#microBatch > 0, 'engine.step: backward has not been called since the last step');
    if (this.#microBatch < this.#accumulate) return null;
    const learningRate = this.learningRate;
    const result = this.store.applyUpdate(this.#updates.at(this.#steps));
    this.#steps++;
    this.#microBatch = 0;
    this.#endStep();
    return { ...result, step: this.#steps, learningRate };
  }

  #beginMicroBatch(): void {
    if (this.#microBatch >= this.#accumulate) {
      throw new TierraError('E_STATE', `engine.forward: this step already has its ${this.#accumulate} micro-batches`, {
        hint: 'Call engine.step() after every train.accumulate calls of backward.',
      });
    }
    if (this.#scope === null) {
      this.#scope = openScope();
      this.store.beginStep(this.#steps, this.#accumulate);
    }
    randomKeys.begin({ seed: this.context.config.seed, step: this.#steps, microBatch: this.#microBatch });
  }

  #endStep(): void {
    this.#tape.clear();
    this.store.zeroGradients();
    if (this.#scope !== null) closeScope(this.#scope);
    this.#scope = null;
  }

  dispose(): void {
    this.#endStep();
    this.store.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
