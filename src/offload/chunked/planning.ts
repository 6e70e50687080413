/** From a watched micro-batch to a plan with its arenas taken: nothing has its value yet. */
import { KiB } from '../../core/units.ts';
import {
  type ParkEvent,
  type ParkingNeed,
  type PerTier,
  type Plan,
  parkingBytes,
  parkingNeed,
  planStep,
  type Trace,
} from '../../memory/index.ts';
import { native } from '../../native/load.ts';
import type { Unit } from '../../nn/index.ts';
import { dtypeCode } from '../../tensor/index.ts';
import { contextBytes } from '../device.ts';
import { elementTypes, updatesOnDevice } from '../elementTypes.ts';
import { Parking } from '../parking/parking.ts';
import { stateDtype } from '../resident/entries.ts';
import type { StepCourse, TraceRun } from '../store.ts';
import { Homes } from './homes.ts';
import { OnDemand } from './onDemand.ts';
import type { ChunkStoreOptions, Planned } from './planned.ts';
import { StepRecorder } from './report.ts';
import { forwardTrace, type ModelMap, mapModel, trainingTrace } from './stepTrace.ts';
import { Tiers } from './tiers.ts';
import { TraceHost, type Visit } from './traceHost.ts';
import { Views } from './views.ts';
import { Walker } from './walker.ts';

/** One micro-batch as it was watched. Bytes are its own, without the `floorBytes` that were there before. */
export interface Watched {
  readonly visits: readonly Visit[];
  readonly parked: readonly ParkEvent[];
  readonly floorBytes: number;
  /** What libtorch's allocator held at most beyond what was in use: gaps between blocks. */
  readonly gapBytes: number;
  /** What the device's context takes beside all that. */
  readonly contextBytes: number;
}

/** A plan, what it was made from, and the model it is for. */
export interface Compiled {
  readonly course: StepCourse | null;
  /** The step's micro-batches; the last one stands for those that are missing. */
  readonly watched: readonly Watched[];
  readonly map: ModelMap;
  readonly trace: Trace;
  /** Moments at which no unit computes anything. */
  readonly absent: ReadonlySet<number>;
  readonly plan: Plan;
  readonly parking: ParkingNeed | null;
  readonly contextBytes: number;
}

/**
 * Runs one micro-batch on scratch parameters, and `again` to time it: caches, threads and clocks are cold in a first run. How
 * often must not depend on times, since runs on several ranks may have to meet.
 */
export function watchMicroBatch(
  units: readonly Unit[],
  run: TraceRun,
  { dtype, device }: ChunkStoreOptions,
  again: boolean,
): Watched {
  native().emptyCache();
  const before = native().memoryStats(device);
  const floorBytes = before.allocatedBytes;
  const host = new TraceHost(units, dtype, device);
  let cold: readonly Visit[] = [];
  try {
    run(host);
    if (again) {
      cold = [...host.visits];
      host.restart();
      run(host);
    }
  } finally {
    host.dispose(units);
  }
  const visits = withPeaksOf(cold, host.visits).map((visit) =>
    visit.isAbsent === true
      ? visit
      : {
          ...visit,
          beforeBytes: visit.beforeBytes - floorBytes,
          peakBytes: visit.peakBytes - floorBytes,
          afterBytes: visit.afterBytes - floorBytes,
        },
  );
  const heldBytes = native().memoryStats(device).reservedBytes - before.reservedBytes;
  const gapBytes = Math.max(0, heldBytes - Math.max(0, ...visits.map(({ peakBytes }) => peakBytes)));
  return { visits, parked: host.parked, floorBytes, gapBytes, contextBytes: contextBytes(device) };
}

/** What libtorch allocates once it allocates in the first run. */
function withPeaksOf(cold: readonly Visit[], warm: readonly Visit[]): readonly Visit[] {
  if (cold.length !== warm.length) return warm;
  return warm.map((visit, index) => ({ ...visit, peakBytes: Math.max(visit.peakBytes, cold[index]!.peakBytes) }));
}

/** Plans a step of these micro-batches. `course` null: forward passes only. */
export function compileStep(
  units: readonly Unit[],
  course: StepCourse | null,
  watched: readonly Watched[],
  options: ChunkStoreOptions,
): Compiled {
  const { groupOf, chunkElements } = options;
  const each = watched.map(({ visits }) => visits);
  const layout = { groupOf, ...(chunkElements === undefined ? {} : { chunkElements }) };
  // A pipeline's rank knows units that are not its own; every other step updates all, used or not.
  const others =
    course === null ? [] : course.order === undefined ? units : units.filter(({ gradientsOnly }) => gradientsOnly);
  const map = mapModel(each.flat(), layout, others);
  const { trace, absent } =
    course === null
      ? { trace: forwardTrace(map, each.flat()), absent: new Set<number>() }
      : trainingTrace(map, each, course);
  const floorBytes = Math.max(...watched.map((one) => one.floorBytes + one.gapBytes));
  const context = Math.max(...watched.map((one) => one.contextBytes));
  const parking = largestNeed(watched, course, options);
  const plan = compilePlan(map, trace, floorBytes + context, parkingBytes(parking), options);
  return { course, watched, map, trace, absent, plan, parking, contextBytes: context };
}

function largestNeed(
  watched: readonly Watched[],
  course: StepCourse | null,
  { parkOn }: ChunkStoreOptions,
): ParkingNeed | null {
  if (course === null || parkOn === undefined) return null;
  const shape = { microBatches: course.microBatches, vertical: course.accumulation === 'vertical' };
  const needs = watched.map(({ parked }) => parkingNeed(parkOn, parked, shape));
  const most = (of: (need: ParkingNeed) => number): number => Math.max(...needs.map(of));
  const regionBytes = most((need) => need.regionBytes);
  const largestBytes = most((need) => need.largestBytes);
  return regionBytes === 0 ? null : { tier: parkOn, regionBytes, largestBytes };
}

function compilePlan(
  map: ModelMap,
  trace: Trace,
  floorBytes: number,
  parked: PerTier,
  options: ChunkStoreOptions,
): Plan {
  const { budgets, machine, policy, speculate, dtype, device, states = 'exact' } = options;
  return planStep({
    layout: map.layout,
    trace,
    types: elementTypes(dtype, states),
    machine,
    budgets,
    reservedBytes: { ...parked, gpu: floorBytes + reserveBytes(trace) + parked.gpu },
    // Also without clipping: an infinite gradient must be seen before anything is overwritten.
    clipping: true,
    statesOnGpu: updatesOnDevice(device, states),
    policy,
    speculate,
  });
}

/** Room for what the watched micro-batch did not show: losses and labels that the caller keeps, small work of its own. */
export function reserveBytes({ moments }: Trace): number {
  return 64 * KiB + Math.ceil(Math.max(...moments.map(({ nonModelBytes }) => nonModelBytes)) / 64);
}

/** Takes the arenas, or nothing. */
export function openPlanned(compiled: Compiled, options: ChunkStoreOptions): Planned {
  const { map, plan, parking: need } = compiled;
  const { dtype, device, disk, threads, observer = {} } = options;
  const { layout } = map;
  const recorder = new StepRecorder(plan, layout, observer, device);
  const tiers = new Tiers(plan, parkingBytes(need), device, disk);
  try {
    const homes = new Homes(plan, layout, tiers);
    const views = new Views(map, tiers, dtype);
    const walker = new Walker({
      plan,
      layout,
      tiers,
      homes,
      computeCode: dtypeCode(dtype),
      stateCode: dtypeCode(stateDtype(dtype)),
      device,
      updateThreads: threads,
    });
    const onDemand = new OnDemand({ plan, layout, tiers, homes, views, device });
    const parking =
      need === null ? null : new Parking(need, tiers.parking(need.tier), walker.beside, plan.chunks.length);
    return { ...compiled, tiers, homes, views, walker, onDemand, recorder, parking };
  } catch (error) {
    tiers.dispose();
    throw error;
  }
}
