/**
 * What a rank receives in one step of data parallelism, in elements, exactly as the groups' counters count: parameters in
 * the compute type, gradients in the state's type, norm blocks as doubles.
 */
import type { Parameter, Pass, Unit } from '../../nn/index.ts';
import { type Flat, gatheredElements, pageElements, shardElements, slicesOf } from './flats.ts';
import type { ReduceWhen } from './options.ts';
import { PairRoom, type Room, WholeRoom } from './rooms.ts';

export interface DataVolume {
  readonly gatheredElements: number;
  readonly reducedElements: number;
  /** Doubles. */
  readonly normElements: number;
}

export interface ShardedCourse {
  /** In the order of the model: those that this rank computes. */
  readonly units: readonly Unit[];
  readonly flats: readonly Flat[];
  /** Ranks that hold a flat. */
  readonly ranksOf: (flat: Flat) => number;
  readonly stage: 1 | 2 | 3;
  readonly reduce: ReduceWhen;
  readonly microBatches: number;
  /** Visits of a whole step. */
  readonly visits: readonly { readonly unit: number; readonly pass: Pass }[];
}

/** The room that gathered parameters take on the compute device. */
export function roomFor({
  units,
  flats,
  ranksOf,
  stage,
  elementBytes,
}: Pick<ShardedCourse, 'units' | 'flats' | 'ranksOf' | 'stage'> & { readonly elementBytes: number }): Room {
  const flatsOf = (unit: number): Flat[] => flats.filter((flat) => flat.units.includes(unit));
  const options = { units, flatsOf, ranksOf, elementBytes };
  return stage === 3 ? new PairRoom(options) : new WholeRoom(options);
}

/** What comes by way of those flats that `counts` picks: those of one set of ranks, say. */
export function shardedVolume(course: ShardedCourse, counts: (flat: Flat) => boolean = () => true): DataVolume {
  const { units, flats, ranksOf, reduce, microBatches } = course;
  const trainable = flats.filter((flat) => flat.trainable && counts(flat));
  // A tied parameter is reduced for each unit that uses it.
  const reduced = units.reduce(
    (sum, { index }) =>
      sum +
      trainable
        .filter((flat) => flat.units.includes(index))
        .reduce((inner, flat) => inner + awayElements(flat, ranksOf(flat)), 0),
    0,
  );
  const reductions = reduce === 'last' ? 1 : microBatches;
  const sizes = new Map(trainable.map((flat) => [flat.spread, ranksOf(flat)]));
  const normElements = Array.from(sizes, ([spread, ranks]) => {
    const own = trainable.filter((flat) => flat.spread === spread);
    return (ranks - 1) * normMessage(own, ranks);
  });
  return {
    gatheredElements: gathersOf(course, counts),
    reducedElements: reduced * reductions,
    normElements: normElements.reduce((sum, elements) => sum + elements, 0),
  };
}

const awayElements = (flat: Flat, ranks: number): number => (ranks - 1) * shardElements(flat, ranks);

/**
 * Elements of others' shards that a step gathers: the room says what is still there. Whether a unit is gathered while the one
 * before it is at work, or only then, changes nothing in that.
 */
function gathersOf({ visits, ...course }: ShardedCourse, counts: (flat: Flat) => boolean): number {
  const room = roomFor({ ...course, elementBytes: 1 });
  let elements = 0;
  for (const { unit } of visits) {
    for (const flat of room.enter(unit, null)!.missing) {
      if (counts(flat)) elements += awayElements(flat, course.ranksOf(flat));
    }
  }
  return elements;
}

/** Doubles in each rank's message about norms: a sum for every block it holds, and a count for every slice; of the rank that has most. */
export function normMessage(flats: readonly Flat[], ranks: number): number {
  const lengths = Array.from({ length: ranks }, (_, rank) =>
    flats
      .flatMap((flat) => slicesOf(flat, rank, ranks))
      .reduce((sum, { elements }) => sum + Math.ceil(elements / pageElements) + 1, 0),
  );
  return Math.max(0, ...lengths);
}

/** Plain data parallelism: whole gradients of what `counts` picks, summed after every micro-batch or after the last. */
export function replicatedVolume(
  units: readonly Unit[],
  ranks: number,
  reduce: ReduceWhen,
  microBatches: number,
  counts: (parameter: Parameter) => boolean = () => true,
): DataVolume {
  const trained = (parameters: readonly Parameter[]): number =>
    parameters.reduce((sum, each) => sum + (each.trainable && counts(each) ? each.elements : 0), 0);
  const elements = units.reduce((sum, { parameters }) => sum + trained(parameters), 0);
  const reductions = reduce === 'last' ? 1 : microBatches;
  return {
    gatheredElements: 0,
    reducedElements: ((2 * (ranks - 1)) / ranks) * elements * reductions,
    normElements: 0,
  };
}

/** Bytes beside a unit while its gradients are laid end to end, summed and cut: the buffer, this rank's part, messages on their way. */
export function reductionBytes(flats: readonly Flat[], ranksOf: (flat: Flat) => number, wideBytes: number): number {
  return flats
    .filter((flat) => flat.trainable)
    .reduce((sum, flat) => {
      const ranks = ranksOf(flat);
      const whole = gatheredElements(flat, ranks);
      return sum + wideBytes * (whole + (whole / ranks) * (ranks > 1 ? 4 : 1));
    }, 0);
}
