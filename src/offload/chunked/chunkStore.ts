/**
 * Parameters, gradients and states in chunks on three tiers, moved by a plan. This file is the life of a step in outline;
 * its parts are beside it, in this order: `planning` and `firstValues`, `stepWalk`, `gradientNorms`, `updating`, `repairing`.
 *
 * The first micro-batch is watched once (`prepare`), the planner compiles the step, arenas are taken, values placed.
 * From then on every step walks the plan: `acquire` waits for what the plan says and points parameters at their slots,
 * `gradientsReady` puts gradients where the plan says, the native executor does the rest meanwhile.
 */
import { TierraError } from '../../core/errors.ts';
import { guesses, type Plan } from '../../memory/index.ts';
import { native } from '../../native/load.ts';
import { type AnyModule, nameParameters, type Parameter, type Pass, type Unit } from '../../nn/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import { type GradientNorms, StepNorms } from '../norms.ts';
import type { MovementReport } from '../observer.ts';
import type { RunningSave, SaveOrder, SaveRequest } from '../saving.ts';
import type {
  ParameterStore,
  Rehearsal,
  StateEntry,
  StepCourse,
  TierUse,
  TraceRun,
  UpdateResult,
  UpdateSettings,
} from '../store.ts';
import { bytesOfSums, putSums, takeSums } from './carriedSums.ts';
import { CarryFile, carriedWeight, putEntries, takeEntries } from './carry.ts';
import { chunkEntries } from './entries.ts';
import { explained } from './explained.ts';
import { placeValues } from './firstValues.ts';
import { glancesOf } from './glancing.ts';
import { awaitUnmeasured, takeUnmeasured } from './gradientNorms.ts';
import { Guessing } from './guessing.ts';
import type { ChunkStoreOptions, Planned } from './planned.ts';
import { type Compiled, compileStep, openPlanned, type Watched, watchMicroBatch } from './planning.ts';
import { restoreFromMasters } from './repairing.ts';
import { type SavedFormat, savedFormat } from './savedKinds.ts';
import { chunkBlocks, isOnDisk, placeBlocks } from './saving.ts';
import { StepWalk } from './stepWalk.ts';
import { acceptStep, DeviceUpdate, stateMoments } from './updating.ts';

export class ChunkStore implements ParameterStore {
  readonly moves = true;
  #glances: readonly boolean[] = [];
  readonly #model: AnyModule;
  readonly #units: readonly Unit[];
  readonly #options: ChunkStoreOptions;
  readonly #norms: GradientNorms;
  readonly #walk: StepWalk;
  #planned: Planned | null = null;
  /** What `#planned` was opened from. */
  #compiled: Compiled | null = null;
  #depth = 0;
  #step = 0;
  readonly #guessing: Guessing;
  /** Updates of the step under way may be made before its norm is known. */
  #guess = true;
  /** A step was dropped: its tickets are to be stopped and overwritten parameters made again from their masters. */
  #unrepaired = false;
  /** What was lost for good: nothing but `dispose` works after it. */
  #broken: TierraError | null = null;

  constructor(model: AnyModule, units: readonly Unit[], options: ChunkStoreOptions) {
    nameParameters(model);
    this.#model = model;
    this.#units = units;
    this.#options = options;
    this.#norms = options.norms ?? new StepNorms(options.threads);
    this.#guessing = new Guessing(options.speculate);
    this.#walk = new StepWalk(this.#norms, options.dtype, () => this.#useNow());
  }

  /** The plan in force, or null before the first step. */
  get plan(): Plan | null {
    return this.#planned?.plan ?? null;
  }

  prepare(course: StepCourse, trace: TraceRun): void {
    const known = this.#compiled?.course;
    if (known == null) {
      this.dispose();
      this.#start(course, trace);
      return;
    }
    const change = changeOf(known, course);
    if (change === null) return;
    this.#quiesce();
    this.#replan(change, course, [], trace, null);
  }

  rehearse(course: StepCourse, trace: TraceRun): Rehearsal {
    const { plan, trace: traced, map } = this.#watchAndPlan(course, [], trace);
    return { plan, trace: traced, layout: map.layout };
  }

  prepareForward(trace: TraceRun): void {
    if (this.#planned === null) this.#start(null, trace);
  }

  /** From nothing. */
  #start(course: StepCourse | null, trace: TraceRun): void {
    const compiled = this.#watchAndPlan(course, [], trace);
    this.#open(compiled, this.#options);
    this.#compiled = compiled;
  }

  depart(microBatch: number, course: StepCourse, trace: TraceRun): void {
    const { watched, walker } = this.#ready();
    walker.waitForSums(microBatch);
    const before = Array.from({ length: microBatch }, (_, index) => watched[index] ?? watched.at(-1)!);
    const change = `micro-batch ${microBatch + 1} of step ${this.#step + 1} takes another course, or is larger`;
    this.#replan(change, course, before, trace, microBatch);
  }

  /** Watches a micro-batch, which stands for all after those in `before`, and plans. `course` null: forward passes only. */
  #watchAndPlan(course: StepCourse | null, before: readonly Watched[], trace: TraceRun): Compiled {
    native().setMemoryCap(this.#options.device, this.#options.budgets.gpu);
    const watched = watchMicroBatch(this.#units, trace, this.#options, course?.order === undefined);
    return compileStep(this.#units, course, [...before, watched], this.#options);
  }

  /** Takes the arenas and places first values. */
  #open(compiled: Compiled, options: ChunkStoreOptions): Planned {
    const { contextBytes, plan } = compiled;
    native().setMemoryCap(options.device, options.budgets.gpu - contextBytes - plan.arenaBytes.gpu);
    try {
      this.#planned = openPlanned(compiled, options);
      this.#glances = [];
      placeValues(this.#planned, options);
      options.placed?.(compiled.course !== null);
      return this.#planned;
    } catch (error) {
      this.dispose();
      throw explained(error, compiled.map);
    }
  }

  /**
   * Makes a plan for another course and moves everything to where that wants it; between steps, or (`microBatch`) before that
   * micro-batch of the step under way. Where the new course cannot be planned all is as before, but the step is dropped.
   */
  #replan(
    change: string,
    course: StepCourse,
    before: readonly Watched[],
    trace: TraceRun,
    microBatch: number | null,
  ): void {
    const { dtype, disk, observer } = this.#options;
    const old = this.#compiled!;
    const [step, planned] = [this.#step, this.#ready()];
    const entriesOf = (from: Planned) => chunkEntries(from.map, from.homes, this.#savedFormat(from, true));
    const sumBytes = microBatch === null ? 0 : bytesOfSums(planned, dtype);
    const bytes = entriesOf(planned).reduce((sum, entry) => sum + entry.bytes, sumBytes);
    const file = new CarryFile(disk?.paths[0] ?? null, bytes);
    try {
      if (microBatch !== null && microBatch > 0) putSums(file, planned, dtype);
      if (this.#walk.isUnderWay) this.#abandon();
      putEntries(file, entriesOf(this.#quiesce()));
      const restore = (compiled: Compiled): Planned => {
        const values = (parameter: Parameter) => carriedWeight(file, parameter, dtype);
        const opened = this.#open(compiled, { ...this.#options, values });
        takeEntries(file, entriesOf(opened));
        opened.homes.flush();
        this.#compiled = compiled;
        return opened;
      };
      this.dispose();
      let opened: Planned;
      try {
        opened = restore(this.#watchAndPlan(course, before, trace));
      } catch (error) {
        try {
          restore(old);
        } catch (lost) {
          this.#lose(lost, old);
        }
        throw error;
      }
      observer?.replanned?.(change);
      if (microBatch === null) return;
      this.beginStep(step);
      this.#walk.skipTo(opened, microBatch);
      if (microBatch > 0) takeSums(file, opened, dtype);
    } finally {
      file.close();
    }
  }

  #lose(error: unknown, { map }: Compiled): void {
    const { message, code } = explained(error, map);
    const hint = 'Mend the cause, then go on from the last checkpoint.';
    this.#broken = new TierraError(code, `${message}. Values were on their way to other places and are lost`, { hint });
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
    const { map, walker, onDemand, views, recorder, parking } = this.#ready();
    if (this.#walk.isUnderWay) this.#abandon();
    this.#repair();
    onDemand.clear();
    try {
      onDemand.restoreCarried();
    } catch (error) {
      throw explained(error, map);
    }
    views.unbindAll();
    this.#step = step;
    recorder.collect();
    recorder.beginStep(step);
    native().resetPeakMemory(this.#options.device);
    const { isEarly } = walker;
    this.#guess = this.#guessing.shallGuess;
    walker.begin(step, this.#options.updateAt(step), this.#guess);
    if (!isEarly) recorder.issued(walker.issued);
    parking?.beginStep(step);
    this.#walk.begin();
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
    const planned = this.#ready();
    if (this.#walk.isUnderWay) {
      this.#walk.enter(planned, unit, pass);
      if (pass === 'backward') planned.parking?.ahead();
      return;
    }
    // Updates of the last step may still be under way.
    this.#quiesce();
    planned.onDemand.acquire(chunksOf(planned, unit));
  }

  glances(): readonly boolean[] {
    const { plan, absent } = this.#ready();
    // Where a visit may be passed over, the next one is not known.
    return absent.size > 0 ? [] : glancesOf(plan);
  }

  allowGlances(allowed: readonly boolean[]): void {
    this.#glances = allowed;
  }

  glance(unit: Unit, pass: Pass, body: () => void): boolean {
    try {
      return this.#walk.glance(this.#ready(), this.#glances, unit, pass, body);
    } catch (error) {
      throw this.#planned === null ? error : explained(error, this.#planned.map);
    }
  }

  release(unit: Unit, pass: Pass): void {
    if (--this.#depth > 0) return;
    this.#depth = 0;
    const planned = this.#ready();
    if (this.#walk.isInside) this.#walk.leave(planned, unit, pass);
    else planned.onDemand.release(chunksOf(planned, unit));
  }

  gradientsReady(unit: Unit, _use: number, gradients: readonly (Tensor | null)[]): void {
    this.#walk.takeGradients(this.#ready(), unit, gradients);
  }

  applyUpdate(): UpdateResult {
    const planned = this.#ready();
    const { walker, recorder } = planned;
    const settings = this.#options.updateAt(this.#step);
    const normMoment = this.#walk.atNorm(planned);
    using deviceUpdate = this.#measure(planned, settings, normMoment);
    const trainable = this.#model.parameters().filter((parameter) => parameter.trainable);
    const { norm, ...outcome } = this.#norms.total(trainable, settings.clipNorm, settings.lossScale);
    this.#walk.end();
    planned.parking?.endStep(true);
    const useNow = () => this.#useNow();
    recorder.endCompute(walker.momentId(normMoment), () => 'norm', useNow);
    if (outcome.nonFinite !== null) {
      recorder.endStep();
      this.#unrepaired = true;
      this.#repair();
      return { gradientNorm: norm, ...outcome };
    }
    try {
      const scale = outcome.clipFactor / settings.lossScale;
      acceptStep(planned, { step: this.#step, settings, deviceUpdate, scale, normMoment, useNow });
    } catch (error) {
      // Some chunks are updated and some are not.
      throw this.#breakOff(error);
    }
    recorder.endStep();
    this.#guessing.ended(this.#guess, outcome.clipFactor === 1);
    recorder.collect();
    walker.beginEarly(this.#guessing.shallGuess);
    if (walker.isEarly) recorder.issuedEarly(walker.issued);
    return { gradientNorm: norm, ...outcome };
  }

  /** Starts all that is left of the norm, and makes the updates on the compute device ready. */
  #measure(planned: Planned, settings: UpdateSettings, normMoment: number): DeviceUpdate {
    const { map, walker } = planned;
    let deviceUpdate: DeviceUpdate | undefined;
    try {
      walker.enter(normMoment);
      const unmeasured = awaitUnmeasured(this.#norms, planned);
      walker.beginCompute();
      deviceUpdate = new DeviceUpdate(planned, this.#options, settings);
      takeUnmeasured(this.#norms, planned, this.#options.dtype, unmeasured, deviceUpdate.gradients);
      const failed = native().failed(walker.executor);
      if (failed !== null) throw failed;
      return deviceUpdate;
    } catch (error) {
      deviceUpdate?.[Symbol.dispose]();
      throw explained(error, map);
    }
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
      restoreFromMasters(planned, this.#options);
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
    this.#walk.end();
    this.#depth = 0;
    this.#planned!.parking?.endStep(false);
    this.#planned!.views.unbindAll();
    this.#unrepaired = true;
  }

  zeroGradients(): void {
    if (this.#walk.isUnderWay) this.#abandon();
  }

  prepareState(): void {
    this.#quiesce();
  }

  /** Everything at its rest place. */
  #quiesce(): Planned {
    const planned = this.#ready();
    if (this.#walk.isUnderWay)
      throw new TierraError('E_STATE', 'a training step is under way: finish it with engine.step() first');
    this.#repair();
    const { walker } = planned;
    try {
      walker.settleEarly('before');
    } catch (error) {
      throw this.#breakOff(error);
    }
    if (walker.isEarly) this.#forgetEarly(planned);
    try {
      walker.settle();
    } catch (error) {
      throw this.#breakOff(error);
    }
    return planned;
  }

  saveOrder(): SaveOrder {
    const planned = this.#ready();
    const blocks = this.#saveBlocks(planned);
    return {
      tensors: blocks.flatMap(({ tensors }) => tensors.map(({ tensor }) => tensor)),
      leastSlotBytes: Math.max(1, ...blocks.filter((block) => isOnDisk(planned.plan, block)).map(({ bytes }) => bytes)),
    };
  }

  beginSave(request: SaveRequest): RunningSave {
    const planned = this.#ready();
    if (this.#walk.isUnderWay)
      throw new TierraError('E_STATE', 'a training step is under way: finish it with engine.step() first');
    this.#repair();
    // What was changed through `stateEntries` must be where it rests.
    planned.homes.flush();
    return planned.walker.save(placeBlocks(this.#saveBlocks(planned), planned, this.#options.device), request);
  }

  #saveBlocks(planned: Planned) {
    return chunkBlocks(planned.map, this.#savedFormat(planned));
  }

  /** What a checkpoint holds of each chunk. */
  #savedFormat({ plan, course }: Planned, trains = course !== null): SavedFormat {
    const { dtype, updateAt } = this.#options;
    return savedFormat(dtype, plan.types, trains ? stateMoments(updateAt(0)) : -1);
  }

  /** The slots that the next step's fetches went to may be used for something else. One that failed will be made again. */
  #forgetEarly({ walker, recorder, onDemand, parking }: Planned): void {
    try {
      walker.settleEarly('fetches');
      walker.forgetEarly();
    } catch {
      recorder.reset();
      walker.reset();
      onDemand.dropCarried();
      parking?.reset();
    }
  }

  stateEntries(): StateEntry[] {
    const planned = this.#quiesce();
    // They may be written to.
    planned.walker.settleSave();
    return chunkEntries(planned.map, planned.homes, this.#savedFormat(planned));
  }

  park(input: Tensor): void {
    if (this.#walk.isUnderWay) this.#planned?.parking?.park(input);
  }

  unpark(input: Tensor): void {
    const planned = this.#planned;
    if (planned === null) return;
    try {
      planned.parking?.unpark(input);
    } catch (error) {
      throw explained(error, planned.map);
    }
  }

  /** Arenas, and on the compute device the most that was needed beside them since the step began. */
  use(): TierUse[] {
    return this.#useWith(native().memoryStats(this.#options.device).peakBytes);
  }

  #useNow(): TierUse[] {
    return this.#useWith(native().memoryStats(this.#options.device).allocatedBytes);
  }

  #useWith(workingBytes: number): TierUse[] {
    const { budgets, disk } = this.#options;
    const arenas = this.#planned?.tiers.bytes ?? { gpu: 0, host: 0, nvme: 0 };
    const gpu = arenas.gpu + (this.#compiled?.contextBytes ?? 0) + workingBytes;
    const uses: TierUse[] = [{ tier: 'gpu', usedBytes: gpu, budgetBytes: budgets.gpu }];
    if (arenas.host > 0) uses.push({ tier: 'host', usedBytes: arenas.host, budgetBytes: budgets.host });
    // A disk without a budget of its own is as large as what was reserved on it.
    const diskBytes = disk?.sizeBytes ?? arenas.nvme;
    if (arenas.nvme > 0) uses.push({ tier: 'nvme', usedBytes: arenas.nvme, budgetBytes: diskBytes });
    return uses;
  }

  report(): MovementReport | null {
    this.#planned?.recorder.collect();
    const report = this.#planned?.recorder.report() ?? null;
    const isGuessing = this.#planned?.plan.chunks.some(({ update }) => guesses(update)) ?? false;
    return report === null || !isGuessing ? report : { ...report, guesses: this.#guessing.counts };
  }

  notes(): readonly string[] {
    return this.#planned?.tiers.notes() ?? [];
  }

  dispose(): void {
    const planned = this.#planned;
    planned?.recorder.collect();
    this.#planned = null;
    this.#compiled = null;
    this.#walk.end();
    this.#depth = 0;
    this.#unrepaired = false;
    native().setMemoryCap(this.#options.device, null);
    planned?.parking?.endStep(false);
    planned?.walker.dispose();
    planned?.onDemand.dispose();
    planned?.views.unbindAll();
    for (const parameter of this.#model.parameters()) parameter.unplace();
    planned?.tiers.dispose();
  }
}

const chunksOf = ({ map }: Planned, unit: Unit) => map.layout.chunksOfUnit[map.layoutUnit.get(unit.index)!]!;

/** Why the plan for `known` does not do for `course`, in words; null where it does. */
function changeOf(known: StepCourse, course: StepCourse): string | null {
  if (known.microBatches !== course.microBatches) {
    return `steps have ${course.microBatches} micro-batches instead of ${known.microBatches}`;
  }
  if (known.accumulation !== course.accumulation) return `micro-batches are taken in ${course.accumulation} order`;
  const [had = 0, have = 0] = [known.inputElements, course.inputElements];
  return have > had ? `a micro-batch has ${have} elements, the largest so far had ${had}` : null;
}
