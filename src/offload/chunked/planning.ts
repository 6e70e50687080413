/** From a watched micro-batch to a plan with its arenas taken: nothing has its value yet. */
import { KiB } from '../../core/units.ts';
import { type Plan, planStep, type Trace } from '../../memory/index.ts';
import { native } from '../../native/load.ts';
import type { Unit } from '../../nn/index.ts';
import { dtypeBytes, dtypeCode } from '../../tensor/index.ts';
import { stateDtype } from '../resident/entries.ts';
import type { StepCourse, TraceRun } from '../store.ts';
import { Homes } from './homes.ts';
import { OnDemand } from './onDemand.ts';
import type { ChunkStoreOptions, Planned } from './planned.ts';
import { StepRecorder } from './report.ts';
import { forwardTrace, type ModelMap, mapModel, trainingTrace } from './stepTrace.ts';
import { Tiers } from './tiers.ts';
import { TraceHost } from './traceHost.ts';
import { Views } from './views.ts';
import { Walker } from './walker.ts';

/** A plan and the model it is for. */
export interface Compiled {
  readonly course: StepCourse | null;
  readonly map: ModelMap;
  readonly plan: Plan;
}

/** Watches one micro-batch and plans. `course` null: forward passes only. */
export function compileTraced(
  units: readonly Unit[],
  course: StepCourse | null,
  run: TraceRun,
  options: ChunkStoreOptions,
): Compiled {
  const { dtype, device, groupOf, chunkElements } = options;
  const floorBytes = native().memoryStats(device).allocatedBytes;
  const host = new TraceHost(units, dtype, device);
  try {
    run(host);
  } finally {
    host.dispose(units);
  }
  const { visits } = host;
  const map = mapModel(visits, { groupOf, ...(chunkElements === undefined ? {} : { chunkElements }) });
  const trace =
    course === null ? forwardTrace(map, visits, floorBytes) : trainingTrace(map, visits, course, floorBytes);
  return { course, map, plan: compilePlan(map, trace, floorBytes, options) };
}

function compilePlan(map: ModelMap, trace: Trace, floorBytes: number, options: ChunkStoreOptions): Plan {
  const { budgets, machine, policy, speculate, dtype } = options;
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

/** Room for what the watched micro-batch did not show: losses and labels that the caller keeps, small work of its own. */
export function reserveBytes({ moments }: Trace): number {
  return 64 * KiB + Math.ceil(Math.max(...moments.map(({ nonModelBytes }) => nonModelBytes)) / 64);
}

/** Takes the arenas, or nothing. */
export function openPlanned({ course, map, plan }: Compiled, options: ChunkStoreOptions): Planned {
  const { dtype, device, disk, threads, observer = {} } = options;
  const { layout } = map;
  const recorder = new StepRecorder(plan, layout, observer);
  const tiers = new Tiers(plan, device, disk);
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
    return { course, map, plan, tiers, homes, views, walker, onDemand, recorder };
  } catch (error) {
    tiers.dispose();
    throw error;
  }
}
