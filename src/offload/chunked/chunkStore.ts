/**
 * Parameters, gradients and states in chunks on three tiers, moved by a plan.
 *
 * The first micro-batch is watched once (`prepare`), the planner compiles the step, arenas are taken, values placed.
 * From then on every step walks the plan: `acquire` waits for what the plan says and points parameters at their slots,
 * `gradientsReady` puts gradients where the plan says, the native executor does the rest meanwhile.
 */
import { TierraError } from '../../core/errors.ts';
import { KiB } from '../../core/units.ts';
import {
  type ChunkId,
  type Machine,
  type PlacementPolicy,
  type Plan,
  type PlannedMoment,
  planStep,
  type Trace,
} from '../../memory/index.ts';
import type { TensorHandle } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import {
  type AnyModule,
  initialValues,
  nameParameters,
  type Parameter,
  type Pass,
  type Unit,
  type ValueSource,
} from '../../nn/index.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { MovementReport, StoreObserver } from '../observer.ts';
import { stateDtype } from '../resident/entries.ts';
import type {
  ParameterStore,
  StateEntry,
  StepCourse,
  TierUse,
  TraceRun,
  UpdateResult,
  UpdateSettings,
} from '../store.ts';
import { chunkEntries } from './entries.ts';
import { type HomeKind, Homes } from './homes.ts';
import { StepNorms } from './norms.ts';
import { OnDemand } from './onDemand.ts';
import { StepRecorder } from './report.ts';
import { forwardTrace, type ModelMap, mapModel, trainingTrace } from './stepTrace.ts';
import { type DiskOptions, Tiers } from './tiers.ts';
import { TraceHost } from './traceHost.ts';
import { Views } from './views.ts';
import { accumulates, guessedScale, segmentsOf, Walker } from './walker.ts';

export interface ChunkStoreOptions {
  readonly seed: number;
  readonly dtype: Dtype;
  readonly device: string;
  readonly updateAt: (step: number) => UpdateSettings;
  readonly groupOf: (parameter: Parameter) => number;
  readonly values?: ValueSource;
  readonly threads: number;
  readonly budgets: { readonly gpu: number; readonly host: number; readonly nvme: number };
  readonly disk: DiskOptions | null;
  readonly policy: PlacementPolicy;
  readonly speculate: 'auto' | 'always' | 'never';
  readonly chunkElements?: number;
  readonly machine: Machine;
  readonly observer?: StoreObserver;
}

/** Everything that exists once the step is planned. */
interface Planned {
  /** Null: placed for forward passes only. */
  readonly course: StepCourse | null;
  readonly map: ModelMap;
  readonly plan: Plan;
  readonly tiers: Tiers;
  readonly homes: Homes;
  readonly views: Views;
  readonly walker: Walker;
  readonly onDemand: OnDemand;
  readonly recorder: StepRecorder;
}

export class ChunkStore implements ParameterStore {
  readonly moves = true;
  readonly #model: AnyModule;
  readonly #units: readonly Unit[];
  readonly #options: ChunkStoreOptions;
  readonly #norms: StepNorms;
  #planned: Planned | null = null;
  /** Index of the next moment while a step is under way; -1 between steps. */
  #moment = -1;
  #current: PlannedMoment | null = null;
  #depth = 0;
  #step = 0;
  /** Vertical order: chunks whose sum has its first micro-batch in this moment. */
  readonly #begun = new Set<ChunkId>();
  /** A step was dropped: its tickets are to be stopped and overwritten parameters made again from their masters. */
  #unrepaired = false;
  /** What was lost for good: nothing but `dispose` works after it. */
  #broken: TierraError | null = null;

  constructor(model: AnyModule, units: readonly Unit[], options: ChunkStoreOptions) {
    nameParameters(model);
    this.#model = model;
    this.#units = units;
    this.#options = options;
    this.#norms = new StepNorms(options.threads);
  }

  /** The plan in force, or null before the first step. */
  get plan(): Plan | null {
    return this.#planned?.plan ?? null;
  }

  prepare(course: StepCourse, trace: TraceRun): void {
    const known = this.#planned?.course;
    if (known != null) {
      if (known.microBatches === course.microBatches && known.accumulation === course.accumulation) return;
      throw new TierraError('E_UNSUPPORTED', 'the number or order of micro-batches changed after the first step', {
        hint: 'Keep train.accumulate and memory.accumulation as they are during a run; a resumed run may change them.',
      });
    }
    this.dispose();
    this.#place(course, trace);
  }

  prepareForward(trace: TraceRun): void {
    if (this.#planned === null) this.#place(null, trace);
  }

  /** Watches one micro-batch, plans, takes the arenas, places first values. `course` null: forward passes only. */
  #place(course: StepCourse | null, trace: TraceRun): void {
    const { dtype, device, groupOf, chunkElements, budgets } = this.#options;
    native().setMemoryCap(device, budgets.gpu);
    const floorBytes = native().memoryStats(device).allocatedBytes;
    const host = new TraceHost(this.#units, dtype, device);
    try {
      trace(host);
    } finally {
      host.dispose(this.#units);
    }
    const map = mapModel(host.visits, { groupOf, ...(chunkElements === undefined ? {} : { chunkElements }) });
    const { visits } = host;
    const stepTrace =
      course === null ? forwardTrace(map, visits, floorBytes) : trainingTrace(map, visits, course, floorBytes);
    const plan = this.#plan(map, stepTrace, floorBytes);
    native().setMemoryCap(device, budgets.gpu - plan.arenaBytes.gpu);
    try {
      this.#planned = this.#open(course, map, plan);
      this.#placeValues(this.#planned);
    } catch (error) {
      this.dispose();
      throw explained(error, map);
    }
  }

  #plan(map: ModelMap, trace: Trace, floorBytes: number): Plan {
    const { budgets, machine, policy, speculate, dtype } = this.#options;
    const computeBytes = dtypeBytes(dtype) as 2 | 4 | 8;
    const types = { computeBytes, stateBytes: dtypeBytes(stateDtype(dtype)) as 4 | 8 };
    return planStep({
      layout: map.layout,
      trace,
      types,
      machine,
      budgets,
      reservedBytes: { gpu: floorBytes + reserveBytes(trace) },
      // Also without clipping: an infinite gradient must be seen before anything is overwritten.
      clipping: true,
      policy,
      speculate,
    });
  }

  #open(course: StepCourse | null, map: ModelMap, plan: Plan): Planned {
    const { dtype, device, disk, threads } = this.#options;
    const recorder = new StepRecorder(plan, map.layout, this.#options.observer ?? {});
    const tiers = new Tiers(plan, device, disk);
    try {
      const homes = new Homes(plan, map.layout, tiers);
      const views = new Views(map, tiers, dtype);
      const walker = new Walker({
        plan,
        layout: map.layout,
        tiers,
        homes,
        computeCode: dtypeCode(dtype),
        stateCode: dtypeCode(stateDtype(dtype)),
        device,
        updateThreads: threads,
      });
      const onDemand = new OnDemand({ plan, layout: map.layout, tiers, homes, views, device });
      return { course, map, plan, tiers, homes, views, walker, onDemand, recorder };
    } catch (error) {
      tiers.dispose();
      throw error;
    }
  }

  /**
   * First values straight to where they live, one parameter in memory at a time and none in a buffer of JavaScript's: freed ones
   * would stay resident. Chunks with both homes on disk pass through one staging slot, so their values are asked for twice.
   */
  #placeValues({ map, homes, plan }: Planned): void {
    for (const { id } of map.layout.chunks) {
      const { parameterHome, stateHome } = plan.chunks[id]!;
      if (stateHome === 'none') this.#placeChunk(map, homes, id, ['parameter']);
      else if (parameterHome !== 'nvme' || stateHome !== 'nvme')
        this.#placeChunk(map, homes, id, ['parameter', 'state']);
      else for (const kind of ['parameter', 'state'] as const) this.#placeChunk(map, homes, id, [kind]);
    }
    homes.flush();
  }

  #placeChunk(map: ModelMap, homes: Homes, id: ChunkId, kinds: readonly HomeKind[]): void {
    const { dtype, seed, values = (parameter: Parameter) => initialValues(parameter, seed, dtype) } = this.#options;
    const typeOf = (kind: HomeKind): Dtype => (kind === 'state' ? stateDtype(dtype) : dtype);
    const chunk = map.layout.chunks[id]!;
    for (const kind of kinds) {
      const { arena, offset } = homes.bytes(id, kind, true);
      native().arenaFill(arena, offset, chunk.elements * dtypeBytes(typeOf(kind)) * (kind === 'state' ? 3 : 1), 0);
    }
    for (const placed of chunk.parameters) {
      const parameter = map.parameters[placed.id]!;
      scope(() =>
        noGrad(() => {
          const value = values(parameter);
          for (const kind of kinds) {
            const { arena, offset } = homes.bytes(id, kind, true);
            const at = offset + placed.offset * dtypeBytes(typeOf(kind));
            const code = dtypeCode(typeOf(kind));
            ops.copyInto(adopt(native().arenaTensor(arena, at, parameter.shape, code)), value);
          }
        }),
      );
    }
  }

  #ready(): Planned {
    if (this.#broken !== null) throw this.#broken;
    if (this.#planned === null) {
      throw new TierraError('E_STATE', 'nothing is placed yet: the plan is made from the first training batch', {
        hint: 'Call engine.prepare(input) with a batch of the shape that training will use.',
      });
    }
    return this.#planned;
  }

  beginStep(step: number): void {
    const { map, walker, onDemand, views, recorder } = this.#ready();
    if (this.#moment >= 0) this.#abandon();
    this.#repair();
    onDemand.clear();
    try {
      onDemand.restoreCarried();
    } catch (error) {
      throw explained(error, map);
    }
    views.unbindAll();
    this.#step = step;
    this.#norms.begin();
    recorder.collect();
    recorder.beginStep(step);
    native().resetPeakMemory(this.#options.device);
    walker.begin(step, this.#options.updateAt(step));
    recorder.issued(walker.issued);
    this.#moment = 0;
  }

  acquire(unit: Unit, pass: Pass): void {
    if (this.#depth++ > 0) return;
    try {
      this.#enter(unit, pass);
    } catch (error) {
      this.#depth = 0;
      throw this.#planned === null ? error : explained(error, this.#planned.map);
    }
  }

  #enter(unit: Unit, pass: Pass): void {
    const { map, plan, walker, views, onDemand, recorder } = this.#ready();
    const position = map.layoutUnit.get(unit.index)!;
    if (this.#moment < 0) {
      // Updates of the last step may still be under way.
      this.#quiesce();
      onDemand.acquire(map.layout.chunksOfUnit[position]!);
      return;
    }
    const moment = plan.moments[this.#moment]!;
    if (moment.unit !== position || moment.pass !== pass) throw departure(unit, pass, moment, map);
    walker.enter(moment.index);
    recorder.beginCompute();
    for (const { chunk, slot } of moment.parameters) views.bind(chunk, slot);
    this.#current = moment;
  }

  release(unit: Unit, pass: Pass): void {
    if (--this.#depth > 0) return;
    this.#depth = 0;
    const { map, walker, views, onDemand, recorder } = this.#ready();
    if (this.#current === null) {
      onDemand.release(map.layout.chunksOfUnit[map.layoutUnit.get(unit.index)!]!);
      return;
    }
    for (const { chunk } of this.#current.parameters) views.unbind(chunk);
    if (this.#begun.size > 0) this.#takeSummedNorms(this.#current);
    this.#begun.clear();
    const { microBatch } = this.#current;
    recorder.endCompute(
      () => `${pass} ${unit.name}${microBatch > 0 ? ` of micro-batch ${microBatch + 1}` : ''}`,
      () => this.#useNow(),
    );
    walker.leave(this.#current.index);
    this.#moment = this.#current.index + 1;
    this.#current = null;
  }

  gradientsReady(unit: Unit, _use: number, gradients: readonly (Tensor | null)[]): void {
    const { map, plan, views } = this.#ready();
    const trainable = unit.parameters.filter((parameter) => parameter.trainable);
    const byParameter = new Map(trainable.map((parameter, index) => [parameter, gradients[index] ?? null]));
    const moment = this.#current;
    if (moment === null) throw new TierraError('E_STATE', `gradients of ${unit.name} arrive outside a training step`);
    const { dtype } = this.#options;
    const summed = accumulates(plan);
    for (const planned of moment.gradients) {
      const chunk = map.layout.chunks[planned.chunk]!;
      const isSum = planned.bytes !== chunk.elements * dtypeBytes(dtype);
      // In the vertical order the sum is made here, one micro-batch after another.
      const add = planned.add || this.#begun.has(planned.chunk);
      const { slot } = planned;
      const type = isSum ? stateDtype(dtype) : dtype;
      views.takeGradients(chunk, { slot, add }, type, (parameter) => byParameter.get(parameter) ?? null);
      if (moment.microBatch < 0) this.#begun.add(planned.chunk);
    }
    if (!summed) this.#takeNorms(moment, byParameter);
    for (const gradient of gradients) gradient?.dispose();
  }

  /** Whole gradients of chunks with a single use are measured on the way; the others when all parts are there. */
  #takeNorms(moment: PlannedMoment, gradients: ReadonlyMap<Parameter, Tensor | null>): void {
    const { map, plan } = this.#ready();
    const parameters = moment.gradients
      .filter(({ chunk }) => plan.chunks[chunk]!.gradients.length <= 1)
      .flatMap(({ chunk }) => map.layout.chunks[chunk]!.parameters.map(({ id }) => map.parameters[id]!))
      .filter((parameter) => gradients.get(parameter) != null);
    scope(() =>
      this.#norms.take(
        parameters,
        parameters.map((parameter) => ops.contiguous(gradients.get(parameter)!)),
      ),
    );
  }

  /** Vertical order: the moment's sums are complete and still on the compute device. */
  #takeSummedNorms(moment: PlannedMoment): void {
    const { map, plan, tiers, views } = this.#ready();
    for (const { chunk: id, slot } of moment.gradients) {
      if (plan.chunks[id]!.gradients.length > 1) continue;
      const chunk = map.layout.chunks[id]!;
      const type = stateDtype(this.#options.dtype);
      scope(() =>
        this.#norms.take(
          chunk.parameters.map((placed) => map.parameters[placed.id]!),
          [...chunk.parameters.keys()].map((index) => views.tensorIn(tiers.memory(slot), chunk, index, type)),
        ),
      );
    }
  }

  applyUpdate(): UpdateResult {
    const planned = this.#ready();
    const { plan, walker, recorder } = planned;
    const settings = this.#options.updateAt(this.#step);
    const normMoment = plan.moments.findIndex(({ pass }) => pass === 'norm');
    if (this.#moment !== normMoment) {
      throw new TierraError(
        'E_STATE',
        `the step ends at moment ${this.#moment} of ${normMoment}: units are missing from it`,
      );
    }
    try {
      walker.enter(normMoment);
      this.#normsAtRest(planned);
      const failed = native().failed(walker.executor);
      if (failed !== null) throw failed;
    } catch (error) {
      throw explained(error, planned.map);
    }
    const trainable = this.#model.parameters().filter((parameter) => parameter.trainable);
    const { norm, clipFactor, nonFinite } = this.#norms.total(trainable, settings.clipNorm, settings.lossScale);
    this.#moment = -1;
    recorder.endCompute(
      () => 'norm',
      () => this.#useNow(),
    );
    if (nonFinite !== null) {
      recorder.endStep();
      this.#unrepaired = true;
      this.#repair();
      return { gradientNorm: norm, clipFactor, nonFinite };
    }
    try {
      this.#accept(planned, settings, clipFactor / settings.lossScale);
    } catch (error) {
      // Some chunks are updated and some are not.
      throw this.#breakOff(error);
    }
    recorder.endStep();
    return { gradientNorm: norm, clipFactor, nonFinite };
  }

  /** The norm is known and finite: what waits for it is updated, what was guessed is kept or made again. */
  #accept(planned: Planned, settings: UpdateSettings, scale: number): void {
    const { plan, walker, homes, recorder } = planned;
    const normMoment = plan.moments.findIndex(({ pass }) => pass === 'norm');
    walker.setScale(scale);
    walker.leave(normMoment);
    walker.enter(normMoment + 1);
    recorder.beginCompute();
    this.#updateOnDevice(planned, settings, scale);
    recorder.endCompute(
      () => 'update on gpu',
      () => this.#useNow(),
    );
    walker.leave(normMoment + 1);
    if (scale !== guessedScale(settings)) this.#redoSpeculated(planned, settings);
    for (const { chunk, flips, update, parameterHome, stateHome } of plan.chunks) {
      if (update === 'none') continue;
      if (flips) homes.flip(chunk);
      if (parameterHome === 'nvme') homes.setStamp(chunk, 'parameter', this.#step + 1);
      if (stateHome === 'nvme') homes.setStamp(chunk, 'state', this.#step + 1);
    }
  }

  /** Norms of gradients that are sums: of several uses, or of several micro-batches. They lie where the update finds them. */
  #normsAtRest({ plan, map, walker, homes, tiers, views, recorder }: Planned): void {
    const summed = accumulates(plan);
    const { dtype } = this.#options;
    const rest = stateDtype(dtype);
    const isKnown = (chunk: ChunkId): boolean =>
      this.#norms.has(map.parameters[map.layout.chunks[chunk]!.parameters[0]!.id]!);
    const pending = plan.chunks.filter(
      ({ chunk, gradients, update }) => update !== 'none' && (gradients.length > 1 || (summed && !isKnown(chunk))),
    );
    const chunks = new Set(pending.map(({ chunk }) => chunk));
    walker.waitFor(
      plan.tickets.filter(({ chunk, kind, cause }) => kind === 'gradient' && cause !== 'park' && chunks.has(chunk)),
      'norm',
    );
    recorder.beginCompute();
    for (const { chunk: id, gradients } of pending) {
      const chunk = map.layout.chunks[id]!;
      for (const [index, placed] of chunk.parameters.entries()) {
        scope(() =>
          noGrad(() => {
            const parts = gradients.map((place) =>
              views.tensorIn(tiers.memory(homes.slotOf(id, place)), chunk, index, summed ? rest : dtype),
            );
            this.#norms.take([map.parameters[placed.id]!], [sumOfUses(parts.reverse(), rest)]);
          }),
        );
      }
    }
  }

  /**
   * The norm disagrees with the guess that nothing is clipped: the guessed updates are made again from intact inputs,
   * once all others are done with the staging slots.
   */
  #redoSpeculated({ plan, walker }: Planned, settings: UpdateSettings): void {
    const guessed = new Set(plan.chunks.filter(({ update }) => update === 'speculated').map(({ chunk }) => chunk));
    const of = ({ chunk, kind, cause }: Plan['tickets'][number]) =>
      guessed.has(chunk) && kind !== 'gradient' && cause !== 'fetch';
    const tickets = plan.tickets.filter(of);
    if (tickets.length === 0) return;
    walker.drain();
    walker.again(tickets, settings);
  }

  #updateOnDevice(planned: Planned, settings: UpdateSettings, scale: number): void {
    const updates = planned.plan.moments.at(-1)!.deviceUpdates;
    if (updates.length === 0) return;
    const { threads } = this.#options;
    scope(() =>
      noGrad(() => {
        const each = updates.flatMap((chunk) => this.#deviceTensors(planned, chunk, stateMoments(settings)));
        const groupOf = each.map(({ group }) => group);
        const tensors = each.map(({ handles }) => handles);
        native().optimizerUpdateMany(settings.rule, settings.groups, groupOf, scale, tensors, threads);
      }),
    );
  }

  /** What the update of one chunk on the compute device reads and writes, parameter by parameter. */
  #deviceTensors({ plan, map, tiers, homes, views }: Planned, id: ChunkId, moments: number) {
    const { dtype } = this.#options;
    const rest = stateDtype(dtype);
    const chunk = map.layout.chunks[id]!;
    const { parameter, state, gradients } = plan.chunks[id]!;
    const stateAt = tiers.memory(homes.slotOf(id, state!));
    const plane = chunk.elements * dtypeBytes(rest);
    const gradientType = accumulates(plan) ? rest : dtype;
    return segmentsOf(map.layout, id).map(({ group }, index) => {
      const stateTensor = (which: number): TensorHandle =>
        views.tensorIn({ ...stateAt, offset: stateAt.offset + which * plane }, chunk, index, rest).handle;
      const parts = gradients.map((place) =>
        views.tensorIn(tiers.memory(homes.slotOf(id, place)), chunk, index, gradientType),
      );
      const handles = {
        gradient: sumOfUses(parts.reverse(), rest).handle,
        master: stateTensor(0),
        m: moments > 0 ? stateTensor(1) : null,
        v: moments > 1 ? stateTensor(2) : null,
        parameterOut: views.tensorIn(tiers.memory(homes.slotOf(id, parameter)), chunk, index, dtype).handle,
      };
      return { group, handles };
    });
  }

  /** Leaves every state as it is and brings the parameters, which gradients have overwritten, back from their masters. */
  #skip({ walker, plan, map, homes, onDemand, recorder }: Planned): void {
    const { dtype, device, threads } = this.#options;
    const wide = stateDtype(dtype);
    recorder.reset();
    walker.reset();
    onDemand.dropCarried();
    for (const { chunk: id, update, parameterHome, stateHome } of plan.chunks) {
      // What is on disk was not written to: a step writes the other extent.
      if (update === 'none' || parameterHome === 'nvme') continue;
      const chunk = map.layout.chunks[id]!;
      const options = { dtype, device: stateHome === 'gpu' ? device : 'cpu' };
      for (const { offset, elements } of chunk.parameters) {
        const bytes = new Uint8Array(elements * dtypeBytes(dtype));
        scope(() => {
          const master = homes.bytes(id, 'state', false);
          const at = master.offset + offset * dtypeBytes(wide);
          const from = adopt(native().arenaTensor(master.arena, at, [elements], dtypeCode(wide)));
          const to = ops.empty([elements], options);
          native().castInto(to.handle, from.handle, threads);
          native().readBytes(to.handle, bytes);
        });
        const home = homes.bytes(id, 'parameter', true);
        native().arenaWrite(home.arena, home.offset + offset * dtypeBytes(dtype), bytes);
      }
    }
    homes.flush();
  }

  /** Before anything is read after a dropped step. The step before it was accepted: what still moves for it comes to its end. */
  #repair(): void {
    if (!this.#unrepaired) return;
    const planned = this.#ready();
    try {
      planned.walker.settlePrevious();
    } catch (error) {
      throw this.#breakOff(error);
    }
    try {
      this.#skip(planned);
    } catch (error) {
      throw explained(error, planned.map);
    }
    this.#unrepaired = false;
  }

  #breakOff(error: unknown): TierraError {
    const { message, code, details } = explained(error, this.#planned!.map);
    const text = `${message}. Some of what step ${this.#step + 1} or the one before it changed is lost`;
    const hint = 'Mend the cause, then go on from the last checkpoint.';
    this.#broken = new TierraError(code, text, { hint, details, cause: error });
    return this.#broken;
  }

  /** Ends a step that was not finished. Repair waits until something is asked of the store. */
  #abandon(): void {
    const planned = this.#planned!;
    this.#moment = -1;
    this.#current = null;
    this.#depth = 0;
    this.#begun.clear();
    planned.views.unbindAll();
    this.#unrepaired = true;
  }

  zeroGradients(): void {
    if (this.#moment >= 0) this.#abandon();
    this.#begun.clear();
  }

  prepareState(): void {
    this.#quiesce();
  }

  /** Everything at its rest place. */
  #quiesce(): Planned {
    const planned = this.#ready();
    if (this.#moment >= 0)
      throw new TierraError('E_STATE', 'a training step is under way: finish it with engine.step() first');
    this.#repair();
    try {
      planned.walker.drain();
    } catch (error) {
      throw this.#breakOff(error);
    }
    return planned;
  }

  stateEntries(): StateEntry[] {
    const { map, homes } = this.#quiesce();
    return chunkEntries(
      map,
      homes,
      this.#options.dtype,
      this.#planned?.course === null ? -1 : stateMoments(this.#options.updateAt(0)),
    );
  }

  park(): void {
    throw new TierraError('E_UNSUPPORTED', 'parking activations is not there yet');
  }

  unpark(): void {}

  /** Arenas, and on the compute device the most that was needed beside them since the step began. */
  use(): TierUse[] {
    return this.#useWith(native().memoryStats(this.#options.device).peakBytes);
  }

  #useNow(): TierUse[] {
    return this.#useWith(native().memoryStats(this.#options.device).allocatedBytes);
  }

  #useWith(workingBytes: number): TierUse[] {
    const { budgets, disk } = this.#options;
    const arenas = this.#planned?.plan.arenaBytes ?? { gpu: 0, host: 0, nvme: 0 };
    const uses: TierUse[] = [{ tier: 'gpu', usedBytes: arenas.gpu + workingBytes, budgetBytes: budgets.gpu }];
    if (arenas.host > 0) uses.push({ tier: 'host', usedBytes: arenas.host, budgetBytes: budgets.host });
    // A disk without a budget of its own is as large as what was reserved on it.
    const diskBytes = disk?.sizeBytes ?? arenas.nvme;
    if (arenas.nvme > 0) uses.push({ tier: 'nvme', usedBytes: arenas.nvme, budgetBytes: diskBytes });
    return uses;
  }

  report(): MovementReport | null {
    this.#planned?.recorder.collect();
    return this.#planned?.recorder.report() ?? null;
  }

  notes(): readonly string[] {
    return this.#planned?.tiers.notes() ?? [];
  }

  dispose(): void {
    const planned = this.#planned;
    planned?.recorder.collect();
    this.#planned = null;
    this.#moment = -1;
    this.#current = null;
    this.#depth = 0;
    this.#unrepaired = false;
    native().setMemoryCap(this.#options.device, null);
    planned?.walker.dispose();
    planned?.onDemand.dispose();
    planned?.views.unbindAll();
    for (const parameter of this.#model.parameters()) parameter.unplace();
    planned?.tiers.dispose();
  }
}

/** Room for what the watched micro-batch did not show: losses and labels that the caller keeps, small work of its own. */
export function reserveBytes({ moments }: Trace): number {
  return 64 * KiB + Math.ceil(Math.max(...moments.map(({ nonModelBytes }) => nonModelBytes)) / 64);
}

/** The error with the parameters of the chunk that it speaks of. */
function explained(error: unknown, { layout, parameters }: ModelMap): TierraError {
  if (!(error instanceof TierraError)) throw error;
  const { chunk, parameters: known } = error.details;
  const placed = typeof chunk === 'number' ? layout.chunks[chunk]?.parameters : undefined;
  if (placed === undefined || known !== undefined) return error;
  const names = placed.map(({ id }) => parameters[id]!.name);
  const more = names.length > 2 ? ` and ${names.length - 2} more` : '';
  const hint = error.hint === undefined ? {} : { hint: error.hint };
  return new TierraError(error.code, `${error.message}; chunk ${chunk} holds ${names.slice(0, 2).join(', ')}${more}`, {
    ...hint,
    details: { ...error.details, parameters: names },
    cause: error,
  });
}

/** The gradient of a parameter from those of its uses, latest use first, in the state's type where there are several. */
function sumOfUses(parts: readonly Tensor[], wide: Dtype): Tensor {
  const [first, ...others] = parts;
  if (others.length === 0) return first!;
  const total = first!.dtype === wide ? ops.clone(first!) : ops.to(first!, { dtype: wide });
  for (const other of others) ops.addInPlace(total, other);
  return total;
}

/** How many moments the rule keeps beside the master. */
function stateMoments({ rule, groups }: UpdateSettings): number {
  if (rule === 'adamw') return 2;
  return rule === 'lion' || groups.some(({ momentum }) => momentum !== 0) ? 1 : 0;
}

function departure(unit: Unit, pass: Pass, moment: PlannedMoment, map: ModelMap): TierraError {
  const expected = moment.unit < 0 ? moment.pass : `${moment.pass} of ${map.units[moment.unit]!.name}`;
  return new TierraError(
    'E_UNSUPPORTED',
    `the step departs from its plan: ${pass} of ${unit.name} where ${expected} was expected`,
    {
      hint: 'Units must run in the same order in every step. Set memory.policy: off for models whose course changes.',
    },
  );
}
