/**
 * Which tokens of a sequence which rank holds. Contiguous: rank r of p has run r of p. Zigzag: runs r and 2p-1-r of 2p, so
 * that under a causal mask every rank attends to the same number of keys.
 */
import { TierraError } from '../../core/errors.ts';
import type { PositionRun } from '../../nn/index.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { gatherFromGroup } from '../tensor/operators.ts';

export const sequenceOrders = ['contiguous', 'zigzag'] as const;
export type SequenceOrder = (typeof sequenceOrders)[number];

/** Runs of one rank. */
export const runsPerRank = (order: SequenceOrder): number => (order === 'zigzag' ? 2 : 1);

/** The numbers of rank `rank`'s runs among all runs. */
const runNumbers = (order: SequenceOrder, rank: number, parts: number): number[] =>
  order === 'zigzag' ? [rank, 2 * parts - 1 - rank] : [rank];

/** Where the tokens of rank `rank` of `parts` stand; it holds `length` of `length * parts`. */
export function runsOf(order: SequenceOrder, rank: number, parts: number, length: number): PositionRun[] {
  const run = length / runsPerRank(order);
  if (!Number.isInteger(run)) throw indivisible(length * parts, order, parts);
  return runNumbers(order, rank, parts).map((number) => ({ begin: number * run, end: (number + 1) * run }));
}

function indivisible(length: number, order: SequenceOrder, parts: number): TierraError {
  const runs = runsPerRank(order) * parts;
  return new TierraError(
    'E_CONFIG',
    `a sequence of ${length} tokens does not divide into ${runs} runs: ${length} % ${runs} = ${length % runs}`,
    {
      hint: `${order} order over ${parts} ranks needs a length that is a multiple of ${runs}: pad the sequences or change data.sequenceLength.`,
      details: { length, order, parts },
    },
  );
}

/**
 * This rank's tokens of `x`, which has the whole sequence along `dim`. Batches are split before the model sees them, labels after
 * they were shifted: the label of a run's last token is in the next run. Without communication.
 */
export function splitSequence(x: Tensor, dim: number, order: SequenceOrder, group: Group): Tensor {
  const length = x.size(dim);
  if (length % (runsPerRank(order) * group.size) !== 0) throw indivisible(length, order, group.size);
  const runs = runsOf(order, group.rank, group.size, length / group.size);
  const parts = runs.map(({ begin, end }) => ops.slice(x, dim, begin, end));
  return parts.length === 1 ? ops.contiguous(parts[0]!) : ops.cat(parts, dim);
}

/**
 * The whole sequence along `dim` on every rank, in the order of its positions: an all-gather; backward a reduce-scatter where
 * ranks go on with it in different ways (`sumGradients`), else the own part.
 */
export function joinSequence(x: Tensor, dim: number, order: SequenceOrder, group: Group, sumGradients = false): Tensor {
  const gathered = gatherFromGroup(x, group, dim, sumGradients);
  if (order === 'contiguous') return gathered;
  const runs = ops.chunk(gathered, 2 * group.size, dim);
  const inOrder = Array.from({ length: group.size }, (_, rank) => runNumbers(order, rank, group.size)).flat();
  return ops.cat(
    runs.map((_, number) => runs[inOrder.indexOf(number)]!),
    dim,
  );
}
