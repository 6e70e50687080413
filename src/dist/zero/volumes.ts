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
  readonly ranks: number;
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
  ranks,
  stage,
  elementBytes,
}: Pick<ShardedCourse, 'units' | 'flats' | 'ranks' | 'stage'> & { readonly elementBytes: number }): Room {
  const flatsOf = (unit: number): Flat[] => flats.filter((flat) => flat.units.includes(unit));
  const options = { units, flatsOf, ranksOf: () => ranks, elementBytes };
  return stage === 3 ? new PairRoom(options) : new WholeRoom(options);
}

export function shardedVolume(course: ShardedCourse): DataVolume {
  const { units, flats, ranks, reduce, microBatches } = course;
  const away = ranks - 1;
  const trainable = flats.filter((flat) => flat.trainable);
  // A tied parameter is reduced for each unit that uses it.
  const reduced = units.reduce(
    (sum, { index }) =>
      sum +
      trainable
        .filter((flat) => flat.units.includes(index))
        .reduce((inner, flat) => inner + shardElements(flat, ranks), 0),
    0,
  );
  const reductions = reduce === 'last' ? 1 : microBatches;
  return {
    gatheredElements: away * gathersOf(course),
    reducedElements: away * reduced * reductions,
    normElements: away * normMessage(trainable, ranks),
  };
}

/**
 * Elements of this rank's shards that a step gathers: the room says what is still there. Whether a unit is gathered while the one
 * before it is at work, or only then, changes nothing in that.
 */
function gathersOf({ units, flats, ranks, stage, visits }: ShardedCourse): number {
  const room = roomFor({ units, flats, ranks, stage, elementBytes: 1 });
  let elements = 0;
  for (const { unit } of visits) {
    for (const flat of room.enter(unit, null)!.missing) elements += shardElements(flat, ranks);
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

/** Plain data parallelism: whole gradients, summed after every micro-batch or after the last. */
export function replicatedVolume(
  units: readonly Unit[],
  ranks: number,
  reduce: ReduceWhen,
  microBatches: number,
): DataVolume {
  const trained = (parameters: readonly Parameter[]): number =>
    parameters.reduce((sum, { trainable, elements }) => sum + (trainable ? elements : 0), 0);
  const elements = units.reduce((sum, { parameters }) => sum + trained(parameters), 0);
  const reductions = reduce === 'last' ? 1 : microBatches;
  return {
    gatheredElements: 0,
    reducedElements: ((2 * (ranks - 1)) / ranks) * elements * reductions,
    normElements: 0,
  };
}

/** Bytes beside a unit while its gradients are laid end to end, summed and cut: the buffer, this rank's part, messages on their way. */
export function reductionBytes(flats: readonly Flat[], ranks: number, wideBytes: number): number {
  const trainable = flats.filter((flat) => flat.trainable);
  const whole = trainable.reduce((sum, flat) => sum + gatheredElements(flat, ranks), 0);
  return wideBytes * (whole + (whole / ranks) * (ranks > 1 ? 4 : 1));
}
