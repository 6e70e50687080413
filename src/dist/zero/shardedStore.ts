/**
 * ZeRO 1, 2 and 3 (Rajbhandari et al. 2020) as a layer around a store that knows nothing of ranks. The store below keeps
 * this rank's shards of all parameters, gradients and states, on its own tiers by its own plan. This one gathers a
 * unit's parameters from all ranks when it is entered, and gives every rank its shard of the summed gradients.
 *
 * Stage 3 keeps gathered parameters while their unit is at work; stages 1 and 2 gather once per step. Gradients arrive
 * weighted: the loss was divided by the number of ranks, so here they are only added up.
 */
import { nameParameters, type Parameter, type Pass, type Unit, type UnitHost } from '../../nn/index.ts';
import type { MovementReport } from '../../offload/observer.ts';
import { stateDtype } from '../../offload/resident/entries.ts';
import type { ParameterStore, StateEntry, StepCourse, TierUse, TraceRun, UpdateResult } from '../../offload/store.ts';
import { type Dtype, dtypeBytes, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { shardEntries } from './entries.ts';
import { flattenGradients, LocalSums } from './flatGradients.ts';
import { type Flat, layFlats, shardElements } from './flats.ts';
import { Gathered } from './gathered.ts';
import type { DataParallelOptions } from './options.ts';
import { PairRoom, type Room, WholeRoom } from './rooms.ts';
import { ShardModel, shardValues } from './shardModel.ts';
import { ShardNorms } from './shardNorms.ts';

export interface ShardedOptions extends DataParallelOptions {
  readonly stage: 1 | 2 | 3;
}

export class ShardedStore implements ParameterStore {
  readonly #options: ShardedOptions;
  readonly #shards: ShardModel;
  readonly #room: Room;
  readonly #gathered: Gathered;
  readonly #below: ParameterStore;
  readonly #wide: Dtype;
  #sums: LocalSums | null = null;
  #microBatches = 1;
  #depth = 0;

  /** Takes room on the compute device and makes the store below; the model's parameters are placed without bytes. */
  constructor(options: ShardedOptions) {
    const { model, units, groupOf, group, dtype, device, threads, stage, below } = options;
    nameParameters(model);
    this.#options = options;
    this.#wide = stateDtype(dtype);
    const shards = new ShardModel(units, layFlats(units, groupOf), group.rank, group.size);
    this.#shards = shards;
    const rooms = { units, flatsOf: (unit: number) => shards.flatsOf(unit), ranks: group.size };
    const roomOptions = { ...rooms, elementBytes: dtypeBytes(dtype) };
    this.#room = stage === 3 ? new PairRoom(roomOptions) : new WholeRoom(roomOptions);
    const parameters = model.parameters();
    const trainable = parameters.filter((parameter) => parameter.trainable);
    this.#gathered = new Gathered({ shards, group, room: this.#room, parameters, dtype, device });
    try {
      this.#below = below({
        model: shards,
        units: shards.units,
        groupOf: (shard: Parameter) => shards.flatOf(shard).group,
        values: shardValues(shards, options.values, this.#wide),
        norms: new ShardNorms({ shards, group, parameters: trainable, device, threads }),
        takenBytes: this.#room.bytes,
      });
    } catch (error) {
      this.#gathered.dispose();
      throw error;
    }
  }

  get moves(): boolean {
    return this.#below.moves;
  }

  /** The store that keeps this rank's shards. */
  get below(): ParameterStore {
    return this.#below;
  }

  prepare(course: StepCourse, trace: TraceRun): void {
    this.#setCourse(course);
    this.#below.prepare(course, (host) => this.#watched(host, trace));
  }

  prepareForward(trace: TraceRun): void {
    this.#below.prepareForward((host) => this.#watched(host, trace));
  }

  #setCourse({ microBatches }: StepCourse): void {
    this.#sums?.clear();
    this.#microBatches = microBatches;
    const local = this.#options.reduce === 'last' && microBatches > 1;
    this.#sums = local ? new LocalSums(this.#wide, microBatches) : null;
  }

  /** The micro-batch that the store below watches: what it needs is that of real ones, but nothing is sent. */
  #watched(host: UnitHost, trace: TraceRun): void {
    trace({
      acquire: (unit, pass) => {
        host.acquire(this.#shardUnit(unit), pass);
        this.#gathered.bind(unit, this.#gathered.seat(unit.index));
      },
      release: (unit, pass) => {
        this.#gathered.unbind(unit);
        host.release(this.#shardUnit(unit), pass);
      },
      gradientsReady: (unit, use, gradients) => {
        const shards = this.#trainableFlats(unit).map((flat) => this.#shardGradient(flat, unit, gradients, () => {}));
        for (const gradient of gradients) gradient?.dispose();
        host.gradientsReady(this.#shardUnit(unit), use, shards);
      },
      park: (input) => host.park(input),
      unpark: (input) => host.unpark(input),
    });
    this.#gathered.forget();
  }

  #shardUnit({ index }: Unit): Unit {
    return this.#shards.units.find((unit) => unit.index === index)!;
  }

  #trainableFlats({ index }: Unit): readonly Flat[] {
    return this.#shards.flatsOf(index).filter(({ trainable }) => trainable);
  }

  beginStep(step: number): void {
    this.#depth = 0;
    this.#sums?.clear();
    this.#below.beginStep(step);
  }

  acquire(unit: Unit, pass: Pass): void {
    if (this.#depth++ > 0) return;
    try {
      this.#below.acquire(this.#shardUnit(unit), pass);
      const arriving = this.#gathered.start(unit.index, null, (flat) => ops.detach(this.#shards.shard(flat).tensor))!;
      this.#gathered.finish(arriving);
      this.#gathered.bind(unit, arriving.seat);
    } catch (error) {
      this.#depth = 0;
      this.#gathered.forget();
      throw error;
    }
  }

  release(unit: Unit, pass: Pass): void {
    if (--this.#depth > 0) return;
    this.#depth = 0;
    this.#gathered.unbind(unit);
    this.#below.release(this.#shardUnit(unit), pass);
  }

  gradientsReady(unit: Unit, use: number, gradients: readonly (Tensor | null)[]): void {
    const whole = this.#sums === null ? gradients : this.#sums.add(`${unit.index}.${use}`, gradients);
    const flats = this.#trainableFlats(unit);
    const shards =
      whole === null
        ? flats.map(() => null)
        : flats.map((flat) => this.#shardGradient(flat, unit, whole, this.#reduce));
    for (const gradient of whole ?? []) gradient?.dispose();
    this.#below.gradientsReady(this.#shardUnit(unit), use, shards);
  }

  readonly #reduce = (shard: Tensor, buffer: Tensor): void => {
    const { group, replicas } = this.#options;
    group.reduceScatter(shard, buffer).wait();
    replicas?.allReduce(shard).wait();
  };

  /** This rank's shard of a flat's gradient after `reduce`, in the type in which the store below takes it. */
  #shardGradient(
    flat: Flat,
    unit: Unit,
    gradients: readonly (Tensor | null)[],
    reduce: (shard: Tensor, buffer: Tensor) => void,
  ): Tensor {
    const { group, device, dtype } = this.#options;
    const trainable = unit.parameters.filter((parameter) => parameter.trainable);
    const gradientOf = (parameter: Parameter): Tensor | null => gradients[trainable.indexOf(parameter)] ?? null;
    const type = this.#microBatches > 1 ? this.#wide : dtype;
    return noGrad(() =>
      scope(() => {
        const buffer = flattenGradients(flat, group.size, gradientOf, { dtype: this.#wide, device });
        const shard = ops.empty([shardElements(flat, group.size)], { dtype: this.#wide, device });
        reduce(shard, buffer);
        return shard.dtype === type ? shard : ops.to(shard, { dtype: type });
      }),
    ).keep();
  }

  applyUpdate(): UpdateResult {
    try {
      return this.#below.applyUpdate();
    } finally {
      this.#gathered.forget();
    }
  }

  zeroGradients(): void {
    this.#depth = 0;
    this.#sums?.clear();
    this.#below.zeroGradients();
  }

  /** Of this rank: each entry is the part of a parameter that its shard holds. Values written are gathered anew. */
  stateEntries(): StateEntry[] {
    return shardEntries(this.#shards, this.#options.model.parameters(), this.#below.stateEntries(), () =>
      this.#gathered.forget(),
    );
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
    const { bytes } = this.#room;
    return this.#below
      .use()
      .map((use) =>
        use.tier === 'gpu'
          ? { ...use, usedBytes: use.usedBytes + bytes, budgetBytes: use.budgetBytes + (this.moves ? bytes : 0) }
          : use,
      );
  }

  report(): MovementReport | null {
    return this.#below.report?.() ?? null;
  }

  notes(): readonly string[] {
    return this.#below.notes();
  }

  dispose(): void {
    this.#sums?.clear();
    this.#below.dispose();
    this.#gathered.dispose();
  }
}
