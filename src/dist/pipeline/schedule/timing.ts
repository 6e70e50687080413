/** When everything of a compute order happens on a virtual clock, if transfers only take time and never wait for anybody. */
import { TierraError } from '../../../core/errors.ts';
import { durationOf, type ScheduleCosts } from './costs.ts';
import { type ComputeAction, type ComputeOrder, label, rankOfStage } from './types.ts';

export interface TimedCompute {
  readonly rank: number;
  readonly action: ComputeAction;
  readonly start: number;
  readonly end: number;
}

/** What must be done before `action`, by label; `crossing` may lie on another rank. */
export function needsOf(
  action: ComputeAction,
  stages: number,
): { readonly local: readonly string[]; readonly crossing: { readonly key: string; readonly stage: number } | null } {
  const { kind, stage, microBatch } = action;
  const at = (letter: string, place: number): string => `${letter}${place}.${microBatch}`;
  if (kind === 'forward') {
    return { local: [], crossing: stage === 0 ? null : { key: at('F', stage - 1), stage: stage - 1 } };
  }
  if (kind === 'backwardWeight') return { local: [at('b', stage)], crossing: null };
  const crossing = stage === stages - 1 ? null : { key: at('g', stage + 1), stage: stage + 1 };
  return { local: [at('F', stage)], crossing };
}

/** Names under which others wait for `action`: `g` stands for the input's gradient, however it was computed. */
export function doneKeys(action: ComputeAction): string[] {
  const own = label(action);
  if (action.kind === 'forward' || action.kind === 'backwardWeight') return [own];
  return [own, `g${action.stage}.${action.microBatch}`];
}

/** Throws `E_PLAN` when the order cannot be carried out, naming what each rank waits for. */
export function timeOrder(order: ComputeOrder, costs: ScheduleCosts): TimedCompute[] {
  const stages = order.ranks * order.chunks;
  const done = new Map<string, number>();
  const next = order.order.map(() => 0);
  const clock = order.order.map(() => 0);
  const timed: TimedCompute[] = [];
  for (let moved = true; moved; ) {
    moved = false;
    for (const [rank, list] of order.order.entries()) {
      for (let action = list[next[rank]!]; action !== undefined; action = list[next[rank]!]) {
        const ready = readyTime(action, stages, done, order, costs);
        if (ready === null) break;
        const start = Math.max(clock[rank]!, ready);
        const end = start + durationOf(action, costs);
        for (const key of doneKeys(action)) done.set(key, end);
        timed.push({ rank, action, start, end });
        clock[rank] = end;
        next[rank]!++;
        moved = true;
      }
    }
  }
  const stuck = order.order.flatMap((list, rank) =>
    next[rank]! < list.length ? [`rank ${rank} at ${label(list[next[rank]!]!)}`] : [],
  );
  if (stuck.length > 0) {
    throw new TierraError('E_PLAN', `the ${order.name} schedule cannot go on: ${stuck.join(', ')}`, {
      hint: 'An action stands before what it depends on, or something it depends on is missing.',
    });
  }
  return timed;
}

function readyTime(
  action: ComputeAction,
  stages: number,
  done: ReadonlyMap<string, number>,
  shape: ComputeOrder,
  costs: ScheduleCosts,
): number | null {
  const { local, crossing } = needsOf(action, stages);
  let ready = 0;
  for (const key of local) {
    const at = done.get(key);
    if (at === undefined) return null;
    ready = Math.max(ready, at);
  }
  if (crossing !== null) {
    const at = done.get(crossing.key);
    if (at === undefined) return null;
    const travels = rankOfStage(crossing.stage, shape) !== rankOfStage(action.stage, shape);
    ready = Math.max(ready, at + (travels ? costs.transfer : 0));
  }
  return ready;
}
