/** What every schedule must satisfy before it runs. */
import { TierraError } from '../../../core/errors.ts';
import { type ScheduleCosts, unitCosts } from './costs.ts';
import { simulate } from './simulate.ts';
import {
  type Action,
  endsFlight,
  isTransfer,
  label,
  rankOfStage,
  type Schedule,
  type TransferAction,
} from './types.ts';

/**
 * Throws `E_PLAN` unless: every stage sees every micro-batch once forward and once backward (whole, or input before
 * weight), on the rank that holds it; weight gradients of a stage come with ascending micro-batches, so that their sums
 * do not depend on the schedule; everything that crosses ranks is sent once and received in the order of sending;
 * nothing deadlocks, with buffered or with waiting transfers; activations in flight keep within the bound.
 */
export function checkSchedule(schedule: Schedule, costs: ScheduleCosts = unitCosts): void {
  const problems = [...checkWork(schedule), ...checkPairs(schedule), ...checkCrossings(schedule)];
  if (problems.length > 0) throw refused(schedule, problems);
  simulate(schedule, costs, 'rendezvous');
  const { ranks } = simulate(schedule, costs, 'buffered');
  const over = ranks.flatMap(({ peakInFlight }, rank) => {
    const bound = schedule.inFlightBound[rank]!;
    return peakInFlight > bound ? [`rank ${rank} keeps ${peakInFlight} activations alive, its bound is ${bound}`] : [];
  });
  if (over.length > 0) throw refused(schedule, over);
}

function refused({ name, ranks, chunks, microBatches }: Schedule, problems: readonly string[]): TierraError {
  const shape = `${ranks} ranks, ${chunks} stages each, ${microBatches} micro-batches`;
  const more = problems.length > 3 ? ` and ${problems.length - 3} more` : '';
  return new TierraError(
    'E_PLAN',
    `the ${name} schedule (${shape}) is wrong: ${problems.slice(0, 3).join('; ')}${more}`,
    {
      details: { problems },
    },
  );
}

function checkWork(schedule: Schedule): string[] {
  const problems: string[] = [];
  const seen = new Map<string, Action[]>();
  for (const [rank, list] of schedule.actions.entries()) {
    for (const action of list) {
      if (isTransfer(action)) continue;
      if (rankOfStage(action.stage, schedule) !== rank) problems.push(`rank ${rank} computes ${label(action)}`);
      const key = `${action.stage}.${action.microBatch}`;
      seen.set(key, [...(seen.get(key) ?? []), action]);
    }
  }
  for (let stage = 0; stage < schedule.stages; stage++) {
    for (let microBatch = 0; microBatch < schedule.microBatches; microBatch++) {
      const kinds = (seen.get(`${stage}.${microBatch}`) ?? []).map(({ kind }) => kind).join(' ');
      seen.delete(`${stage}.${microBatch}`);
      if (kinds !== 'forward backward' && kinds !== 'forward backwardInput backwardWeight') {
        problems.push(`stage ${stage}, micro-batch ${microBatch}: ${kinds === '' ? 'nothing is computed' : kinds}`);
      }
    }
  }
  problems.push(...[...seen.keys()].map((key) => `there is no stage and micro-batch ${key}`));
  return [...problems, ...checkAscending(schedule)];
}

function checkAscending(schedule: Schedule): string[] {
  const last = new Map<number, number>();
  return schedule.actions.flat().flatMap((action) => {
    if (isTransfer(action) || !endsFlight(action.kind)) return [];
    const before = last.get(action.stage) ?? -1;
    last.set(action.stage, action.microBatch);
    return action.microBatch > before ? [] : [`${label(action)} comes after micro-batch ${before}`];
  });
}

/** Between two ranks, in each direction, the k-th receive takes the k-th send. */
function checkPairs(schedule: Schedule): string[] {
  const lanes = new Map<string, { send: string[]; receive: string[] }>();
  for (const [rank, list] of schedule.actions.entries()) {
    for (const action of list) {
      if (!isTransfer(action)) continue;
      const key = action.kind === 'send' ? `${rank} to ${action.peer}` : `${action.peer} to ${rank}`;
      const lane = lanes.get(key) ?? { send: [], receive: [] };
      lanes.set(key, lane);
      lane[action.kind].push(tensorOf(action));
    }
  }
  return [...lanes].flatMap(([key, { send, receive }]) => {
    const at = Array.from({ length: Math.max(send.length, receive.length) }, (_, index) => index).find(
      (index) => send[index] !== receive[index],
    );
    if (at === undefined) return [];
    return [
      `from rank ${key}, message ${at}: ${send[at] ?? 'nothing'} is sent, ${receive[at] ?? 'nothing'} is received`,
    ];
  });
}

/** Every edge between ranks is crossed by one activation and one gradient per micro-batch, and no other edge is. */
function checkCrossings(schedule: Schedule): string[] {
  const wanted = new Set<string>();
  for (let stage = 0; stage + 1 < schedule.stages; stage++) {
    if (rankOfStage(stage, schedule) === rankOfStage(stage + 1, schedule)) continue;
    for (let microBatch = 0; microBatch < schedule.microBatches; microBatch++) {
      wanted.add(`activation ${stage}.${microBatch}`).add(`gradient ${stage + 1}.${microBatch}`);
    }
  }
  const problems: string[] = [];
  for (const action of schedule.actions.flat()) {
    if (action.kind !== 'send' || !isTransfer(action)) continue;
    if (!wanted.delete(tensorOf(action))) problems.push(`${tensorOf(action)} is sent without need`);
  }
  return [...problems, ...[...wanted].map((tensor) => `${tensor} is never sent`)];
}

const tensorOf = ({ payload, stage, microBatch }: TransferAction): string => `${payload} ${stage}.${microBatch}`;
