/**
 * Plain data parallelism: every rank keeps the whole model in a store that knows nothing of ranks, and gradients are added
 * up over all ranks before they reach it. They arrive weighted: the loss was divided by the number of ranks.
 */
import { nameParameters, type Pass, type Unit, type UnitHost } from '../../nn/index.ts';
import type { MovementReport } from '../../offload/observer.ts';
import { stateDtype } from '../../offload/resident/entries.ts';
import type { ParameterStore, StateEntry, StepCourse, TierUse, TraceRun, UpdateResult } from '../../offload/store.ts';
import { type Dtype, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { LocalSums, withRoomForSums } from './flatGradients.ts';
import type { DataParallelOptions } from './options.ts';
import { UnusedParameters } from './unused.ts';
import { touchWorkspace } from './workspace.ts';

export class ReplicatedStore implements ParameterStore {
  readonly #options: DataParallelOptions;
  readonly #below: ParameterStore;
  readonly #wide: Dtype;
  readonly #unused: UnusedParameters;
  #sums: LocalSums | null = null;
  #microBatches = 1;

  constructor(options: DataParallelOptions) {
    const { model, units, groupOf, values, dtype, below } = options;
    nameParameters(model);
    this.#options = options;
    this.#wide = stateDtype(dtype);
    this.#unused = new UnusedParameters(model.parameters().filter((parameter) => parameter.trainable));
    this.#below = below({ model, units, groupOf, values, takenBytes: 0 });
  }

  get moves(): boolean {
    return this.#below.moves;
  }

  /** The store that keeps this rank's copy. */
  get below(): ParameterStore {
    return this.#below;
  }

  prepare(course: StepCourse, trace: TraceRun): void {
    this.#sums?.clear();
    this.#microBatches = course.microBatches;
    const local = this.#options.reduce === 'last' && course.microBatches > 1;
    this.#sums = local ? new LocalSums(this.#wide, course.microBatches) : null;
    const plan = (): void => this.#below.prepare(course, (host) => trace(this.#watched(host)));
    const { units, device } = this.#options;
    if (local) withRoomForSums(units, { dtype: this.#wide, device }, plan);
    else plan();
  }

  prepareForward(trace: TraceRun): void {
    this.#below.prepareForward(trace);
  }

  /** The micro-batch that the store below watches needs the memory of real ones, but nothing is sent. */
  #watched(host: UnitHost): UnitHost {
    return {
      acquire: (unit, pass) => host.acquire(unit, pass),
      release: (unit, pass) => host.release(unit, pass),
      gradientsReady: (unit, use, gradients) => {
        const { group, device } = this.#options;
        const touch = (buffer: Tensor): void =>
          touchWorkspace(buffer.elements, group.size, { dtype: this.#wide, device });
        host.gradientsReady(unit, use, this.#summed(unit, gradients, touch));
      },
      park: (input) => host.park(input),
      unpark: (input) => host.unpark(input),
    };
  }

  beginStep(step: number): void {
    this.#sums?.clear();
    this.#below.beginStep(step);
  }

  acquire(unit: Unit, pass: Pass): void {
    this.#below.acquire(unit, pass);
  }

  release(unit: Unit, pass: Pass): void {
    this.#below.release(unit, pass);
  }

  gradientsReady(unit: Unit, use: number, gradients: readonly (Tensor | null)[]): void {
    const trainable = unit.parameters.filter((parameter) => parameter.trainable);
    this.#unused.see(trainable, gradients);
    const whole = this.#sums === null ? gradients : this.#sums.add(`${unit.index}.${use}`, gradients);
    const { group, replicas } = this.#options;
    const sum = (buffer: Tensor): void => {
      group.allReduce(buffer).wait();
      replicas?.allReduce(buffer).wait();
    };
    const given = whole === null ? gradients.map(() => null) : this.#summed(unit, whole, sum);
    this.#below.gradientsReady(unit, use, given);
  }

  /** All of a unit's gradients in one buffer, added up by `sum`, as tensors again. Ownership of the given ones passes over. */
  #summed(unit: Unit, gradients: readonly (Tensor | null)[], sum: (buffer: Tensor) => void): Tensor[] {
    const { device, dtype } = this.#options;
    const trainable = unit.parameters.filter((parameter) => parameter.trainable);
    const elements = trainable.reduce((total, parameter) => total + parameter.elements, 0);
    if (elements === 0) return [];
    const type = this.#microBatches > 1 ? this.#wide : dtype;
    return noGrad(() =>
      scope(() => {
        const buffer = ops.empty([elements], { dtype: this.#wide, device });
        let at = 0;
        const places = trainable.map((parameter, index) => {
          const place = ops.slice(buffer, 0, at, at + parameter.elements);
          at += parameter.elements;
          const gradient = gradients[index] ?? null;
          if (gradient === null) ops.zeroInPlace(place);
          else ops.copyInto(place, ops.reshape(gradient, [-1]));
          gradient?.dispose();
          return ops.view(place, parameter.shape);
        });
        sum(buffer);
        return places.map((place) => (place.dtype === type ? place : ops.to(place, { dtype: type })));
      }),
    ).map((tensor) => tensor.keep());
  }

  applyUpdate(): UpdateResult {
    const { group, replicas, device } = this.#options;
    this.#unused.stepEnded([group, replicas], device);
    return this.#below.applyUpdate();
  }

  zeroGradients(): void {
    this.#sums?.clear();
    this.#below.zeroGradients();
  }

  stateEntries(): StateEntry[] {
    return this.#below.stateEntries();
  }

  prepareState(): void {
    this.#below.prepareState();
  }

  park(input: Tensor): void {
    this.#below.park(input);
  }

  unpark(input: Tensor): void {
    this.#below.unpark(input);
  }

  use(): TierUse[] {
    return this.#below.use();
  }

  report(): MovementReport | null {
    return this.#below.report?.() ?? null;
  }

  notes(): readonly string[] {
    return [...this.#below.notes(), ...this.#unused.notes()];
  }

  dispose(): void {
    this.#sums?.clear();
    this.#below.dispose();
  }
}
