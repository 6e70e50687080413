import { TierraError } from '../core/errors.ts';
import { formatBytes } from '../core/units.ts';
import { SlotContents } from './contents.ts';
import { openLedgers } from './ledger.ts';
import type { Machine } from './machine.ts';
import { runOnNullDevice, type Timeline } from './nullDevice.ts';
import { type Cause, type Lane, lanes, type PlanForecast } from './plan.ts';
import type { Program } from './program.ts';
import { causes, type Schedule, scheduleOfProgram } from './schedule.ts';
import type { PerTier } from './types.ts';

export interface Simulation extends PlanForecast {
  /** Arenas and everything beside them, at the peak. */
  readonly peakBytes: PerTier;
  readonly timeline: Timeline;
}

/**
 * Runs a program on the null device, following what every slot holds, and measures its last step. Throws `E_INTERNAL` for a broken
 * promise (deadlock, absent or overwritten bytes, a gradient lost or used twice), `E_OUT_OF_MEMORY` for an overdrawn budget.
 */
export function simulate(program: Program, machine: Machine): Simulation {
  const peakBytes = checkBudgets(program);
  const contents = new SlotContents(program);
  const schedule = scheduleOfProgram(program);
  const timeline = runOnNullDevice(schedule, machine, contents);
  contents.finish();
  return { ...measure(schedule, timeline), peakBytes, timeline };
}

/** The last step, from the end of the step before to its own end. */
export function measure(schedule: Schedule, timeline: Timeline): PlanForecast {
  const first = (schedule.steps - 1) * schedule.momentsPerStep;
  const begin = first > 0 ? timeline.momentEnd[first - 1]! : 0;
  const end = timeline.momentEnd[timeline.momentEnd.length - 1] ?? 0;
  const stallSeconds = stallsByCause(schedule, timeline, first);
  const stalled = Object.values(stallSeconds).reduce((sum, seconds) => sum + seconds, 0);
  const movedBytes = perLane(() => 0);
  const busySeconds = perLane(() => 0);
  for (let ticket = 0; ticket < schedule.bytes.length; ticket++) {
    if (schedule.step[ticket] !== schedule.steps - 1) continue;
    const lane = lanes[schedule.lane[ticket]!]!;
    movedBytes[lane] += schedule.bytes[ticket]!;
    busySeconds[lane] += timeline.ticketEnd[ticket]! - timeline.ticketStart[ticket]!;
  }
  const stepSeconds = end - begin;
  return { stepSeconds, computeSeconds: stepSeconds - stalled, stallSeconds, movedBytes, busySeconds };
}

export function perLane<T>(value: (lane: Lane) => T): Record<Lane, T> {
  return Object.fromEntries(lanes.map((lane) => [lane, value(lane)])) as Record<Lane, T>;
}

function checkBudgets(program: Program): PerTier {
  const ledgers = openLedgers(program.budgets);
  for (const tier of ['gpu', 'host', 'nvme'] as const) {
    ledgers[tier].take(program.otherBytes[tier], 'other');
    ledgers[tier].take(program.arenaBytes[tier], 'arena');
  }
  const worst = program.moments.reduce((most, moment) => Math.max(most, moment.nonModelBytes), 0);
  if (worst > program.otherBytes.gpu) {
    const had = formatBytes(program.otherBytes.gpu);
    throw new TierraError('E_INTERNAL', `a moment needs ${formatBytes(worst)} beside the chunks, the plan left ${had}`);
  }
  return { gpu: ledgers.gpu.peakBytes, host: ledgers.host.peakBytes, nvme: ledgers.nvme.peakBytes };
}

/**
 * Splits each wait of the compute stream among the tickets that held it: from the moment's last ticket backwards along
 * whatever that ticket itself was waiting for, until the wait is used up.
 */
function stallsByCause(schedule: Schedule, timeline: Timeline, first: number): Partial<Record<Cause, number>> {
  const stalls: Partial<Record<Cause, number>> = {};
  for (let moment = first; moment < schedule.seconds.length; moment++) {
    const idleFrom = moment === 0 ? 0 : timeline.momentEnd[moment - 1]!;
    let until = timeline.momentStart[moment]!;
    let node = timeline.momentReadyBy[moment]!;
    while (node >= 0 && until > idleFrom) {
      const from = Math.max(idleFrom, timeline.ticketStart[node]!);
      const cause = causes[schedule.cause[node]!]!;
      if (until > from) stalls[cause] = (stalls[cause] ?? 0) + until - from;
      until = Math.min(until, from);
      const held = timeline.laneHeldBy[node]!;
      const ready = timeline.ticketReadyBy[node]!;
      const readyAt = ready >= 0 ? timeline.ticketEnd[ready]! : -1;
      node = held >= 0 && readyAt < timeline.ticketStart[node]! ? held : ready;
    }
  }
  return stalls;
}
