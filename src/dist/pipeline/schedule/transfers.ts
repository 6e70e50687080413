/**
 * Adds sends and receives to a compute order. Everything is put in one global order by the virtual clock, transfers at
 * the moment when their tensor is ready, and each rank gets its part of it. Whoever follows one global order cannot
 * deadlock, even where a send waits for its receive: of all that is not done, the first in that order can always be done.
 */
import { type ScheduleCosts, unitCosts } from './costs.ts';
import { type TimedCompute, timeOrder } from './timing.ts';
import { type Action, type ComputeOrder, rankOfStage, type Schedule, type TransferAction } from './types.ts';

interface Placed {
  readonly at: number;
  /** Among equals: transfers first, so that they lie before the work that waits for them. */
  readonly phase: 0 | 1;
  readonly rank: number;
  readonly action: Action;
}

export function withTransfers(order: ComputeOrder, costs: ScheduleCosts = unitCosts): Schedule {
  const stages = order.ranks * order.chunks;
  const placed = timeOrder(order, costs).flatMap((timed): Placed[] => [
    { at: timed.start, phase: 1, rank: timed.rank, action: timed.action },
    ...transferAfter(timed, order, stages),
  ]);
  placed.sort((a, b) => a.at - b.at || a.phase - b.phase || compareTransfers(a, b));
  const { order: _, ...rest } = order;
  const actions = order.order.map((__, rank) => placed.filter((one) => one.rank === rank).map(({ action }) => action));
  return { ...rest, stages, actions };
}

/** The send and receive of what `timed` made, if another rank needs it. */
function transferAfter({ action, end }: TimedCompute, order: ComputeOrder, stages: number): Placed[] {
  const { kind, stage, microBatch } = action;
  if (kind === 'backwardWeight') return [];
  const target = kind === 'forward' ? stage + 1 : stage - 1;
  if (target < 0 || target >= stages) return [];
  const [from, to] = [rankOfStage(stage, order), rankOfStage(target, order)];
  if (from === to) return [];
  const payload = kind === 'forward' ? 'activation' : 'gradient';
  const one = (own: 'send' | 'receive', rank: number, peer: number): Placed => ({
    at: end,
    phase: 0,
    rank,
    action: { kind: own, payload, stage, microBatch, peer } satisfies TransferAction,
  });
  return [one('send', from, to), one('receive', to, from)];
}

/** The same order of simultaneous transfers on all ranks. */
function compareTransfers({ action: a }: Placed, { action: b }: Placed): number {
  const payload = (action: Action): number => ('payload' in action && action.payload === 'gradient' ? 0 : 1);
  return payload(a) - payload(b) || a.stage - b.stage || a.microBatch - b.microBatch;
}
