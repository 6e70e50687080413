/** From the visits of watched micro-batches to the trace of a whole step, for any number of micro-batches and either order. */
import { type Layout, layOut, type ParameterSpec, stepSignature, type Trace } from '../../memory/index.ts';
import type { Moment } from '../../memory/trace.ts';
import type { Parameter, Unit } from '../../nn/index.ts';
import type { StepCourse, VisitOrder } from '../store.ts';
import type { Visit } from './traceHost.ts';

/** The model as the planner sees it: units in order of first use, parameters as numbered specs. */
export interface ModelMap {
  readonly layout: Layout;
  /** Position of a unit in the layout, by `Unit.index`. */
  readonly layoutUnit: ReadonlyMap<number, number>;
  readonly units: readonly Unit[];
  /** By id in the layout. */
  readonly parameters: readonly Parameter[];
}

export interface MapOptions {
  readonly groupOf: (parameter: Parameter) => number;
  readonly chunkElements?: number;
}

/** Lays the model out in the order in which `visits` first used its units; `others` follow, where they were not used. */
export function mapModel(visits: readonly Visit[], options: MapOptions, others: readonly Unit[] = []): ModelMap {
  const used = visits.filter(({ pass }) => pass === 'forward').map(({ unit }) => unit);
  const units = [...new Set([...used, ...others])];
  const layoutUnit = new Map(units.map((unit, position) => [unit.index, position]));
  const ids = new Map<Parameter, number>();
  const specs: ParameterSpec[] = [];
  const parameters: Parameter[] = [];
  for (const [position, unit] of units.entries()) {
    for (const parameter of unit.parameters) {
      const first = ids.get(parameter);
      const { name, elements, trainable } = parameter;
      const group = options.groupOf(parameter);
      const id = specs.length;
      specs.push({
        id,
        name,
        unit: position,
        elements,
        trainable,
        group,
        ...(first === undefined ? {} : { tiedTo: first }),
      });
      parameters.push(parameter);
      if (first === undefined) ids.set(parameter, id);
    }
  }
  const layout = layOut(specs, options.chunkElements === undefined ? {} : { chunkElements: options.chunkElements });
  return { layout, layoutUnit, units, parameters };
}

/** A trace, and the moments that no unit calls for: see `evened`. */
export interface StepTrace {
  readonly trace: Trace;
  readonly absent: ReadonlySet<number>;
}

/**
 * The trace of a training step. Horizontal: its micro-batches one after another. Vertical: every unit M times as long,
 * with M times what lies between units; what a unit needs while it works is needed once. `watched` holds the visits of each
 * micro-batch, or of one that stands for all. Bytes are those of the step alone.
 */
export function trainingTrace(map: ModelMap, watched: readonly (readonly Visit[])[], course: StepCourse): StepTrace {
  const { microBatches, accumulation, order } = course;
  const vertical = accumulation === 'vertical' && microBatches > 1;
  const moments = order === undefined ? [] : orderedMoments(map, watched.at(-1)!, order);
  const absent = new Set<number>();
  const rows = order !== undefined ? 0 : vertical ? 1 : microBatches;
  const each = Array.from({ length: rows }, (_, index) => watched[index] ?? watched.at(-1)!);
  for (const [index, visits] of evened(each, map.units).entries()) {
    for (const {
      unit,
      pass,
      seconds,
      beforeBytes,
      peakBytes,
      afterBytes,
      unparkedBytes = 0,
      use,
      isAbsent,
    } of visits) {
      // What came back for one micro-batch, and what forward has made for it, stay beside what the next one needs.
      const made = pass === 'forward' ? Math.max(0, afterBytes - beforeBytes) : 0;
      const others = vertical ? (microBatches - 1) * (unparkedBytes + made) : 0;
      if (isAbsent) absent.add(moments.length);
      moments.push({
        pass,
        unit: map.layoutUnit.get(unit.index)!,
        microBatch: vertical ? -1 : index,
        chunks: map.layout.chunksOfUnit[map.layoutUnit.get(unit.index)!]!,
        seconds: seconds * (vertical ? microBatches : 1),
        nonModelBytes: Math.max(0, beforeBytes * (vertical ? microBatches : 1) + (peakBytes - beforeBytes) + others),
        ...(use === undefined ? {} : { use }),
      });
    }
  }
  const nonModelBytes = sumBytes(map);
  for (const pass of ['norm', 'update'] as const) {
    moments.push({ pass, unit: -1, microBatch: -1, chunks: [], seconds: 0, nonModelBytes });
  }
  return { trace: finish(map, moments, 'training', course), absent };
}

/**
 * Every micro-batch of a step gets a backward visit for each use of a unit that any of them has, and each unit that learns
 * has one: where a micro-batch takes another way there is nothing to compute, and its gradient is nothing.
 */
function evened(each: readonly (readonly Visit[])[], units: readonly Unit[]): readonly (readonly Visit[])[] {
  const keyOf = ({ unit, use = 0 }: Pick<Visit, 'unit' | 'use'>): string => `${unit.index}.${use}`;
  const uses = new Map<string, Pick<Visit, 'unit' | 'use'>>();
  for (const visits of each) {
    for (const visit of visits) if (visit.pass === 'backward') uses.set(keyOf(visit), visit);
  }
  if (each.some((visits) => visits.some(({ use }) => use !== undefined))) {
    const reached = new Set([...uses.values()].map(({ unit }) => unit));
    const learns = (unit: Unit): boolean => unit.parameters.some(({ trainable }) => trainable);
    for (const unit of units) if (learns(unit) && !reached.has(unit)) uses.set(`${unit.index}.0`, { unit, use: 0 });
  }
  return each.map((visits) => {
    const own = new Set(visits.filter(({ pass }) => pass === 'backward').map(keyOf));
    const missing = [...uses].filter(([key]) => !own.has(key)).map(([, visit]) => visit);
    return [...visits, ...missing.map(({ unit, use = 0 }) => absentVisit(unit, use))];
  });
}

export function absentVisit(unit: Unit, use: number): Visit {
  const nothing = { seconds: 0, beforeBytes: 0, peakBytes: 0, afterBytes: 0 };
  return { unit, pass: 'backward', ...nothing, use, isAbsent: true };
}

/**
 * Moments in an order of their own. What lies between a micro-batch's visits is there from its forward to its backward,
 * once for every micro-batch on its way.
 */
function orderedMoments(map: ModelMap, visits: readonly Visit[], order: VisitOrder): Omit<Moment, 'index'>[] {
  const beside = order.besideBytes();
  const watched = new Map<string, { readonly visit: Visit; readonly leaves: number }>();
  const computed = visits.filter(({ isAbsent }) => !isAbsent);
  for (const [index, visit] of computed.entries()) {
    const next = computed[index + 1];
    const leaves = (next?.beforeBytes ?? visit.afterBytes) - visit.beforeBytes;
    watched.set(`${visit.pass} ${visit.unit.index}`, { visit, leaves });
  }
  let held = 0;
  return order.visits.map(({ pass, unit, microBatch, part }) => {
    const { visit, leaves } = watched.get(`${part === 'forward' ? 'forward' : 'backward'} ${unit}`)!;
    const nonModelBytes = Math.max(0, held + beside + visit.peakBytes - visit.beforeBytes);
    // The graph stays until both halves of a backward are done.
    if (part !== 'backwardInput') held = Math.max(0, held + leaves);
    return {
      pass,
      unit: map.layoutUnit.get(unit)!,
      microBatch,
      chunks: map.layout.chunksOfUnit[map.layoutUnit.get(unit)!]!,
      seconds: visit.seconds * (part === 'backwardInput' || part === 'backwardWeight' ? 0.5 : 1),
      nonModelBytes,
    };
  });
}

/** Gradients of several uses are added up in one wide tensor, the largest parameter's at most. */
function sumBytes({ layout }: ModelMap): number {
  const tied = layout.chunks.filter(({ units, trainable }) => trainable && units.length > 1);
  return Math.max(0, ...tied.flatMap(({ parameters }) => parameters.map(({ elements }) => elements * 8)));
}

/** The trace of a forward pass alone: evaluation and generation. */
export function forwardTrace(map: ModelMap, visits: readonly Visit[]): Trace {
  const moments = visits.map(({ unit, seconds, peakBytes }) => ({
    pass: 'forward' as const,
    unit: map.layoutUnit.get(unit.index)!,
    microBatch: 0,
    chunks: map.layout.chunksOfUnit[map.layoutUnit.get(unit.index)!]!,
    seconds,
    nonModelBytes: Math.max(0, peakBytes),
  }));
  return finish(map, moments, 'forward', { microBatches: 1, accumulation: 'horizontal' });
}

function finish(
  map: ModelMap,
  moments: readonly Omit<Moment, 'index'>[],
  mode: Trace['mode'],
  course: StepCourse,
): Trace {
  const order = moments.map(({ pass, unit, microBatch }) => [pass, unit, microBatch]);
  const { microBatches, accumulation } = course;
  const signature = stepSignature([map.layout.hash, mode, { microBatches, accumulation }, order]);
  return {
    version: 1,
    signature,
    mode,
    accumulation,
    microBatches,
    moments: moments.map((moment, index) => ({ index, ...moment })),
  };
}
