/** From the visits of one micro-batch to the trace of a whole step, for any number of micro-batches and either order. */
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

/** Lays the model out in the order in which `visits` first used its units. */
export function mapModel(visits: readonly Visit[], options: MapOptions): ModelMap {
  const units = [...new Set(visits.filter(({ pass }) => pass === 'forward').map(({ unit }) => unit))];
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

/**
 * The trace of a training step. Horizontal: the micro-batch M times. Vertical: every unit M times as long, with M times
 * what lies between units; what a unit needs while it works is needed once. `floorBytes` was allocated before the first
 * visit and is no part of the step.
 */
export function trainingTrace(map: ModelMap, visits: readonly Visit[], course: StepCourse, floorBytes: number): Trace {
  const { microBatches, accumulation, order } = course;
  const vertical = accumulation === 'vertical' && microBatches > 1;
  const moments: Omit<Moment, 'index'>[] = order === undefined ? [] : orderedMoments(map, visits, order);
  for (const microBatch of order !== undefined
    ? []
    : vertical
      ? [-1]
      : Array.from({ length: microBatches }, (_, index) => index)) {
    for (const { unit, pass, seconds, beforeBytes, peakBytes } of visits) {
      const between = beforeBytes - floorBytes;
      moments.push({
        pass,
        unit: map.layoutUnit.get(unit.index)!,
        microBatch,
        chunks: map.layout.chunksOfUnit[map.layoutUnit.get(unit.index)!]!,
        seconds: seconds * (vertical ? microBatches : 1),
        nonModelBytes: Math.max(0, between * (vertical ? microBatches : 1) + (peakBytes - beforeBytes)),
      });
    }
  }
  const nonModelBytes = sumBytes(map);
  for (const pass of ['norm', 'update'] as const) {
    moments.push({ pass, unit: -1, microBatch: -1, chunks: [], seconds: 0, nonModelBytes });
  }
  return finish(map, moments, 'training', course);
}

/**
 * Moments in an order of their own. What lies between a micro-batch's visits is there from its forward to its backward,
 * once for every micro-batch on its way.
 */
function orderedMoments(map: ModelMap, visits: readonly Visit[], order: VisitOrder): Omit<Moment, 'index'>[] {
  const beside = order.besideBytes();
  const watched = new Map<string, { readonly visit: Visit; readonly leaves: number }>();
  for (const [index, visit] of visits.entries()) {
    const next = visits[index + 1];
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
export function forwardTrace(map: ModelMap, visits: readonly Visit[], floorBytes: number): Trace {
  const moments = visits.map(({ unit, seconds, peakBytes }) => ({
    pass: 'forward' as const,
    unit: map.layoutUnit.get(unit.index)!,
    microBatch: 0,
    chunks: map.layout.chunksOfUnit[map.layoutUnit.get(unit.index)!]!,
    seconds,
    nonModelBytes: Math.max(0, peakBytes - floorBytes),
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
  const signature = stepSignature([map.layout.hash, mode, course, order]);
  const { microBatches, accumulation } = course;
  return {
    version: 1,
    signature,
    mode,
    accumulation,
    microBatches,
    moments: moments.map((moment, index) => ({ index, ...moment })),
  };
}
