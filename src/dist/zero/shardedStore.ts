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
import type { Work } from '../group.ts';
import { StepOrder, type Visit } from './ahead.ts';
import { shardEntries } from './entries.ts';
import { flattenGradients, LocalSums, withRoomForSums } from './flatGradients.ts';
import { type Flat, layFlats, shardElements } from './flats.ts';
import { type Arriving, Gathered } from './gathered.ts';
import type { Copies, DataParallelOptions } from './options.ts';
import { PairRoom, type Room, type Seat, WholeRoom } from './rooms.ts';
import { ShardModel, shardValues } from './shardModel.ts';
import { ShardNorms } from './shardNorms.ts';
import { UnusedParameters } from './unused.ts';
import { touchWorkspace } from './workspace.ts';

export interface ShardedOptions extends DataParallelOptions {
  readonly stage: 1 | 2 | 3;
}

/** A unit on its way. `isEntered`: the store below has been in its moment and has left it. */
interface Ahead extends Visit {
  readonly arriving: Arriving;
  readonly isEntered: boolean;
}

/** Gradients of one use of a unit on their way to the ranks that keep their parts. */
interface Reduction {
  readonly unit: Unit;
  readonly use: number;
  readonly shards: readonly (Tensor | null)[];
  readonly buffers: readonly Tensor[];
  readonly works: readonly Work[];
}

export class ShardedStore implements ParameterStore {
  readonly #options: ShardedOptions;
  /** By `Flat.spread`. */
  readonly #copies: readonly Copies[];
  readonly #shards: ShardModel;
  readonly #room: Room;
  readonly #gathered: Gathered;
  readonly #below: ParameterStore;
  readonly #wide: Dtype;
  #sums: LocalSums | null = null;
  readonly #order = new StepOrder();
  readonly #unused: UnusedParameters;
  #microBatches = 1;
  #depth = 0;
  #inStep = false;
  /** Whether the store below is in the moment of the unit at work. */
  #isBelowEntered = false;
  /** The unit that is gathered while the one before it is at work. */
  #ahead: Ahead | null = null;
  readonly #reductions: Reduction[] = [];

  /** Takes room on the compute device and makes the store below; the model's parameters are placed without bytes. */
  constructor(options: ShardedOptions) {
    const { model, units, groupOf, copiesOf, dtype, device, threads, stage, below } = options;
    nameParameters(model);
    this.#options = options;
    this.#wide = stateDtype(dtype);
    const parameters = model.parameters();
    const copies = [...new Set(parameters.map(copiesOf))];
    this.#copies = copies;
    const groups = copies.map(({ shards }) => shards);
    const spreadOf = (parameter: Parameter): number => copies.indexOf(copiesOf(parameter));
    const shards = new ShardModel(units, layFlats(units, groupOf, spreadOf), groups);
    this.#shards = shards;
    const computing = units.filter(({ gradientsOnly }) => !gradientsOnly);
    const rooms = {
      units: computing,
      flatsOf: (unit: number) => shards.flatsOf(unit),
      ranksOf: (flat: Flat) => shards.placeOf(flat).size,
    };
    const roomOptions = { ...rooms, elementBytes: dtypeBytes(dtype) };
    this.#room = stage === 3 ? new PairRoom(roomOptions) : new WholeRoom(roomOptions);
    const agreement = options.agree === undefined ? {} : { agree: options.agree };
    const trainable = parameters.filter((parameter) => parameter.trainable);
    this.#unused = new UnusedParameters(trainable, copiesOf);
    this.#gathered = new Gathered({ shards, groups, room: this.#room, parameters, dtype, device });
    try {
      this.#below = below({
        model: shards,
        units: shards.units,
        groupOf: (shard: Parameter) => shards.flatOf(shard).group,
        values: shardValues(shards, options.values, this.#wide),
        norms: new ShardNorms({ shards, groups, device, threads, parameters: trainable, ...agreement }),
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
    const plan = (): void => this.#below.prepare(course, (host) => this.#watched(host, trace));
    const { units, device } = this.#options;
    if (this.#sums === null) plan();
    else withRoomForSums(units, { dtype: this.#wide, device }, plan);
    this.#agreeOnGlances();
  }

  /** Ranks gather a unit ahead only where all of their plans have its shards by then: collectives have one order. */
  #agreeOnGlances(): void {
    const { device } = this.#options;
    const own = this.#below.glances?.() ?? [];
    const least = (values: readonly number[]): number[] =>
      noGrad(() =>
        scope(() => {
          const tensor = ops.fromArray(Float64Array.from(values), [values.length], { dtype: 'float64', device });
          for (const { shards } of this.#copies) shards.allReduce(tensor, 'min').wait();
          return ops.toArray(tensor);
        }),
      );
    const [shortest, longest] = least([own.length, -own.length]);
    if (shortest !== -longest! || shortest === 0) return;
    this.#below.allowGlances?.(least(own.map((can) => (can ? 1 : 0))).map((can) => can === 1));
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
    let staged: Tensor[] = [];
    trace({
      acquire: (unit, pass) => {
        const below = this.#shardUnit(unit);
        host.acquire(below, pass);
        if (unit.gradientsOnly) return;
        staged = [this.#roomForCopies(unit)];
        this.#gathered.bind(unit, this.#gathered.seat(unit.index));
      },
      release: (unit, pass) => {
        if (!unit.gradientsOnly) this.#gathered.unbind(unit);
        for (const tensor of staged.splice(0)) tensor.dispose();
        host.release(this.#shardUnit(unit), pass);
      },
      gradientsReady: (unit, use, gradients) => {
        const { device } = this.#options;
        const { buffers, shards } = this.#reduction(unit, use, gradients, (_shard, buffer, flat) => {
          touchWorkspace(buffer.elements, this.#shards.placeOf(flat).size, { dtype: this.#wide, device });
          return null;
        });
        for (const buffer of buffers) buffer.dispose();
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

  /** The tensor of this rank's shard, where the store below has it now. */
  #shardTensor(flat: Flat): Tensor {
    return ops.detach(this.#shards.shard(flat).tensor);
  }

  /** As much as the copies of shards that may be on their way while `unit` is at work: its own, or those of one beside it. */
  #roomForCopies({ index }: Unit): Tensor {
    const { units, dtype, device } = this.#options;
    const elements = (unit: Unit | undefined): number =>
      unit === undefined || unit.gradientsOnly
        ? 0
        : this.#shards
            .flatsOf(unit.index)
            .reduce((sum, flat) => sum + shardElements(flat, this.#shards.placeOf(flat).size), 0);
    const at = units.findIndex((unit) => unit.index === index);
    const most = Math.max(...[at - 1, at, at + 1].map((place) => elements(units[place])));
    return noGrad(() => ops.empty([most], { dtype, device })).keep();
  }

  #copyOf(flat: Flat): Tensor {
    return noGrad(() => scope(() => ops.clone(this.#shardTensor(flat)))).keep();
  }

  beginStep(step: number): void {
    this.#drop();
    this.#below.beginStep(step);
    this.#order.begin();
    this.#inStep = true;
  }

  acquire(unit: Unit, pass: Pass): void {
    if (this.#depth++ > 0) return;
    try {
      if (unit.gradientsOnly) {
        this.#enterBelow(unit, pass);
        return;
      }
      this.#gathered.bind(unit, this.#arrive(unit, pass));
      const next = this.#inStep ? this.#order.visit(unit.index, pass) : null;
      if (next !== null) this.#ahead = this.#start(next, unit.index);
    } catch (error) {
      this.#dropQuietly();
      throw error;
    }
  }

  /** Waits until the unit's parameters are there, and starts to gather them when nobody has. */
  #arrive(unit: Unit, pass: Pass): Seat {
    let ahead = this.#ahead;
    this.#ahead = null;
    if (ahead !== null && (ahead.unit !== unit.index || ahead.pass !== pass)) {
      this.#gathered.finish(ahead.arriving);
      ahead = null;
    }
    if (ahead === null || !ahead.isEntered) this.#enterBelow(unit, pass);
    const arriving = ahead?.arriving ?? this.#gathered.start(unit.index, null, (flat) => this.#shardTensor(flat))!;
    this.#gathered.finish(arriving);
    // A store with a plan comes to the next moment only when this one is over: forward it may be, once shards are sent.
    if (this.#inStep && this.moves && pass === 'forward') this.#leaveBelow(unit, pass);
    return arriving.seat;
  }

  #enterBelow(unit: Unit, pass: Pass): void {
    this.#below.acquire(this.#shardUnit(unit), pass);
    this.#isBelowEntered = true;
  }

  #leaveBelow(unit: Unit, pass: Pass): void {
    if (!this.#isBelowEntered) return;
    this.#isBelowEntered = false;
    this.#below.release(this.#shardUnit(unit), pass);
  }

  /** Gathers the next unit behind the work of this one, where the store below can give its shards already. */
  #start({ unit: index, pass }: Visit, beside: number): Ahead | null {
    if (!this.moves) {
      const arriving = this.#gathered.start(index, beside, (flat) => this.#shardTensor(flat));
      return arriving === null ? null : { unit: index, pass, arriving, isEntered: false };
    }
    const unit = this.#shards.units.find((each) => each.index === index)!;
    if (!this.#gathered.hasRoom(index, beside)) return null;
    // The place where the store below has the shard is given to something else when its moment is over.
    const gather = (): Arriving => this.#gathered.start(index, beside, (flat) => this.#copyOf(flat))!;
    if (this.#isBelowEntered) {
      // It waits for this unit's gradients: it can only be asked for what comes next.
      let arriving: Arriving | null = null;
      const can = this.#below.glance?.(unit, pass, () => (arriving = gather())) ?? false;
      return can ? { unit: index, pass, arriving: arriving!, isEntered: false } : null;
    }
    if (pass !== 'forward') return null;
    this.#below.acquire(unit, pass);
    const arriving = gather();
    this.#below.release(unit, pass);
    return { unit: index, pass, arriving, isEntered: true };
  }

  release(unit: Unit, pass: Pass): void {
    if (--this.#depth > 0) return;
    this.#depth = 0;
    if (!unit.gradientsOnly) this.#gathered.unbind(unit);
    if (this.moves) this.#finishReductions();
    this.#leaveBelow(unit, pass);
  }

  gradientsReady(unit: Unit, use: number, gradients: readonly (Tensor | null)[]): void {
    this.#unused.see(trainableOf(unit), gradients);
    const whole = this.#sums === null ? gradients : this.#sums.add(`${unit.index}.${use}`, gradients);
    const before = this.#reductions.length;
    if (whole === null) {
      const shards = this.#trainableFlats(unit).map(() => null);
      this.#reductions.push({ unit, use, shards, buffers: [], works: [] });
    } else {
      const reduce = (shard: Tensor, buffer: Tensor, { spread }: Flat): Work =>
        this.#copies[spread]!.shards.reduceScatter(shard, buffer);
      this.#reductions.push(this.#reduction(unit, use, whole, reduce));
    }
    // The store below takes gradients within the unit's moment, if it has moments; otherwise they have time until the next.
    this.#finishReductions(this.moves ? Number.POSITIVE_INFINITY : before);
  }

  /** Hands the oldest `count` reductions to the store below, in their order. */
  #finishReductions(count = Number.POSITIVE_INFINITY): void {
    for (const { unit, use, shards, buffers, works } of this.#reductions.splice(
      0,
      Math.min(count, this.#reductions.length),
    )) {
      for (const work of works) work.wait();
      for (const buffer of buffers) buffer.dispose();
      for (const [index, { spread }] of this.#trainableFlats(unit).entries()) {
        const shard = shards[index] ?? null;
        if (shard !== null) this.#copies[spread]!.replicas?.allReduce(shard).wait();
      }
      this.#below.gradientsReady(
        this.#shardUnit(unit),
        use,
        shards.map((shard) => this.#inStoreType(shard)),
      );
    }
  }

  /** The store below keeps sums over micro-batches in the state's type, and gradients of single ones in the weights'. */
  #inStoreType(shard: Tensor | null): Tensor | null {
    const type = this.#microBatches > 1 ? this.#wide : this.#options.dtype;
    if (shard === null || shard.dtype === type) return shard;
    const given = noGrad(() => scope(() => ops.to(shard, { dtype: type }))).keep();
    shard.dispose();
    return given;
  }

  /** Lays out a unit's gradients, whose ownership passes over, and starts to reduce each flat of them into this rank's shard. */
  #reduction(
    unit: Unit,
    use: number,
    gradients: readonly (Tensor | null)[],
    reduce: (shard: Tensor, buffer: Tensor, flat: Flat) => Work | null,
  ): Reduction {
    const { device } = this.#options;
    const trainable = trainableOf(unit);
    const gradientOf = (parameter: Parameter): Tensor | null => gradients[trainable.indexOf(parameter)] ?? null;
    const options = { dtype: this.#wide, device };
    const buffers: Tensor[] = [];
    const works: Work[] = [];
    const shards = this.#trainableFlats(unit).map((flat) => {
      const { size } = this.#shards.placeOf(flat);
      const buffer = flattenGradients(flat, size, gradientOf, options).keep();
      const shard = ops.empty([shardElements(flat, size)], options).keep();
      buffers.push(buffer);
      const work = reduce(shard, buffer, flat);
      if (work !== null) works.push(work);
      return shard;
    });
    for (const gradient of gradients) gradient?.dispose();
    return { unit, use, shards, buffers, works };
  }

  /** After a failure: what fails because of it is not told. */
  #dropQuietly(): void {
    try {
      this.#drop();
    } catch {}
  }

  /** Lets go of what an unfinished step has under way. Everybody drops it at the same place, so what was sent arrives. */
  #drop(): void {
    this.#depth = 0;
    this.#inStep = false;
    this.#isBelowEntered = false;
    const ahead = this.#ahead;
    this.#ahead = null;
    this.#sums?.clear();
    const reductions = this.#reductions.splice(0);
    this.#gathered.forget();
    if (ahead !== null) this.#gathered.finish(ahead.arriving);
    for (const { works, buffers, shards } of reductions) {
      for (const work of works) work.wait();
      for (const tensor of [...buffers, ...shards]) tensor?.dispose();
    }
  }

  applyUpdate(): UpdateResult {
    this.#finishReductions();
    this.#unused.stepEnded(this.#options.device);
    this.#inStep = false;
    this.#order.end();
    try {
      return this.#below.applyUpdate();
    } finally {
      this.#gathered.forget();
    }
  }

  zeroGradients(): void {
    this.#drop();
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
    return [...this.#below.notes(), ...this.#unused.notes()];
  }

  dispose(): void {
    this.#drop();
    this.#below.dispose();
    this.#gathered.dispose();
  }
}

const trainableOf = (unit: Unit): Parameter[] => unit.parameters.filter((parameter) => parameter.trainable);
