/**
 * Plain data parallelism: every rank keeps the whole model in a store that knows nothing of ranks, and gradients are added
 * up over all ranks with copies before they reach it. They arrive weighted: the loss was divided by the number of ranks.
 */
import { nameParameters, type Parameter, type Pass, type Unit, type UnitHost } from '../../nn/index.ts';
import type { MovementReport } from '../../offload/observer.ts';
import { stateDtype } from '../../offload/resident/entries.ts';
import type { ParameterStore, StateEntry, StepCourse, TierUse, TraceRun, UpdateResult } from '../../offload/store.ts';
import { type Dtype, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { LocalSums, withRoomForSums } from './flatGradients.ts';
import type { Copies, DataParallelOptions } from './options.ts';
import { UnusedParameters } from './unused.ts';
import { touchWorkspace } from './workspace.ts';

type Sum = (buffer: Tensor, copies: Copies) => void;

const sumOverCopies: Sum = (buffer, { shards, replicas }) => {
  if (shards.size > 1) shards.allReduce(buffer).wait();
  replicas?.allReduce(buffer).wait();
};

const isTrainable = ({ trainable }: Parameter): boolean => trainable;

export class ReplicatedStore implements ParameterStore {
  readonly #options: DataParallelOptions;
  readonly #below: ParameterStore;
  readonly #wide: Dtype;
  readonly #unused: UnusedParameters;
  #sums: LocalSums | null = null;
  #microBatches = 1;

  constructor(options: DataParallelOptions) {
    const { model, units, groupOf, values, dtype, copiesOf, below } = options;
    nameParameters(model);
    this.#options = options;
    this.#wide = stateDtype(dtype);
    this.#unused = new UnusedParameters(model.parameters().filter(isTrainable), copiesOf);
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
        const { device } = this.#options;
        const touch = (buffer: Tensor, { shards }: Copies): void =>
          touchWorkspace(buffer.elements, shards.size, { dtype: this.#wide, device });
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
    this.#unused.see(unit.parameters.filter(isTrainable), gradients);
    const whole = this.#sums === null ? gradients : this.#sums.add(`${unit.index}.${use}`, gradients);
    const given = whole === null ? gradients.map(() => null) : this.#summed(unit, whole, sumOverCopies);
    this.#below.gradientsReady(unit, use, given);
  }

  /** A unit's gradients, added up by `sum` over the ranks with copies. Ownership of the given ones passes over. */
  #summed(unit: Unit, gradients: readonly (Tensor | null)[], sum: Sum): Tensor[] {
    const trainable = unit.parameters.filter(isTrainable);
    const { copiesOf } = this.#options;
    const found = new Map<Parameter, Tensor>();
    for (const copies of new Set(trainable.map(copiesOf))) {
      const own = trainable.filter((parameter) => copiesOf(parameter) === copies);
      const given = own.map((parameter) => gradients[trainable.indexOf(parameter)] ?? null);
      const sums = this.#together(own, given, (buffer) => sum(buffer, copies));
      for (const [index, parameter] of own.entries()) found.set(parameter, sums[index]!);
    }
    return trainable.map((parameter) => found.get(parameter)!);
  }

  /** Gradients of `trainable` in one buffer, added up by `sum`, as tensors again. */
  #together(
    trainable: readonly Parameter[],
    gradients: readonly (Tensor | null)[],
    sum: (buffer: Tensor) => void,
  ): Tensor[] {
    const { device, dtype } = this.#options;
    const elements = trainable.reduce((total, parameter) => total + parameter.elements, 0);
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
    this.#unused.stepEnded(this.#options.device);
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
