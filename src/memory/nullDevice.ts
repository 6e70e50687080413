import { TierraError } from '../core/errors.ts';
import { LaneRates } from './lanes.ts';
import type { Machine } from './machine.ts';
import { lanes } from './plan.ts';
import { ReadyQueue } from './readyQueue.ts';
import { causes, type Schedule } from './schedule.ts';

/** When everything happened, by index into the schedule's tickets and moments, in seconds of the virtual clock. */
export interface Timeline {
  readonly ticketStart: Float64Array;
  readonly ticketEnd: Float64Array;
  readonly momentStart: Float64Array;
  readonly momentEnd: Float64Array;
  /** What made each node ready last: a ticket's index, `-2 - m` for moment m, or -1 for nothing. */
  readonly ticketReadyBy: Int32Array;
  readonly momentReadyBy: Int32Array;
  /** The ticket that held the lane until this one started, or -1 when the lane was idle. */
  readonly laneHeldBy: Int32Array;
}

/** Told of everything as it happens, by index: `SlotContents` follows the bytes this way. */
export interface Observer {
  beginTicket(index: number): void;
  endTicket(index: number): void;
  beginMoment(index: number): void;
  endMoment(index: number): void;
}

const updateLane = lanes.indexOf('update');
const accumulateCause = causes.indexOf('accumulate');

/** Executes a schedule on lanes with bandwidths and a virtual clock. Throws `E_INTERNAL` on a deadlock. */
export function runOnNullDevice(schedule: Schedule, machine: Machine, observer: Observer | null = null): Timeline {
  const { lane: laneOf, cause: causeOf, bytes, afterTicket, afterMoment, momentsAfter } = schedule;
  const ticketCount = bytes.length;
  const momentCount = schedule.seconds.length;
  const ticketWaits = schedule.ticketWaits.slice();
  const momentWaits = schedule.momentWaits.slice();
  const timeline: Timeline = {
    ticketStart: new Float64Array(ticketCount).fill(-1),
    ticketEnd: new Float64Array(ticketCount).fill(-1),
    momentStart: new Float64Array(momentCount).fill(-1),
    momentEnd: new Float64Array(momentCount).fill(-1),
    ticketReadyBy: new Int32Array(ticketCount).fill(-1),
    momentReadyBy: new Int32Array(momentCount).fill(-1),
    laneHeldBy: new Int32Array(ticketCount).fill(-1),
  };
  const rates = new LaneRates(machine);
  const latency = lanes.map((lane) => machine.latencySeconds * rates.alone(lane));
  const queues = lanes.map(() => new ReadyQueue(schedule.priority));
  const active = new Int32Array(lanes.length).fill(-1);
  const lastOnLane = new Int32Array(lanes.length).fill(-1);
  const remaining = new Float64Array(lanes.length);
  const busy = lanes.map(() => false);
  let now = 0;
  let current = -1;
  let nextMoment = 0;
  let momentLeft = 0;
  let open = ticketCount;

  const satisfy = (ticket: number, by: number): void => {
    if (--ticketWaits[ticket]! > 0) return;
    timeline.ticketReadyBy[ticket] = by;
    queues[laneOf[ticket]!]!.push(ticket);
  };
  const startWhatCan = (): void => {
    if (current < 0 && nextMoment < momentCount && momentWaits[nextMoment] === 0) {
      current = nextMoment++;
      observer?.beginMoment(current);
      timeline.momentStart[current] = now;
      momentLeft = schedule.seconds[current]! + schedule.deviceElements[current]! / machine.deviceUpdateParameters;
    }
    for (let lane = 0; lane < lanes.length; lane++) {
      if (active[lane]! >= 0) continue;
      const ticket = queues[lane]!.pop();
      if (ticket === undefined) continue;
      observer?.beginTicket(ticket);
      active[lane] = ticket;
      busy[lane] = true;
      const held = lastOnLane[lane]!;
      if (held >= 0 && timeline.ticketEnd[held] === now) timeline.laneHeldBy[ticket] = held;
      remaining[lane] = bytes[ticket]! + latency[lane]!;
      timeline.ticketStart[ticket] = now;
    }
  };
  const endMoment = (): void => {
    const done = current;
    current = -1;
    observer?.endMoment(done);
    timeline.momentEnd[done] = now;
    for (let edge = afterMoment.start[done]!; edge < afterMoment.start[done + 1]!; edge++) {
      satisfy(afterMoment.to[edge]!, -2 - done);
    }
  };
  const endTicket = (lane: number): void => {
    const ticket = active[lane]!;
    active[lane] = -1;
    busy[lane] = false;
    lastOnLane[lane] = ticket;
    open--;
    observer?.endTicket(ticket);
    timeline.ticketEnd[ticket] = now;
    for (let edge = afterTicket.start[ticket]!; edge < afterTicket.start[ticket + 1]!; edge++) {
      satisfy(afterTicket.to[edge]!, ticket);
    }
    for (let edge = momentsAfter.start[ticket]!; edge < momentsAfter.start[ticket + 1]!; edge++) {
      const moment = momentsAfter.to[edge]!;
      if (--momentWaits[moment]! === 0) timeline.momentReadyBy[moment] = ticket;
    }
  };

  for (let ticket = 0; ticket < ticketCount; ticket++) {
    if (ticketWaits[ticket] === 0) queues[laneOf[ticket]!]!.push(ticket);
  }
  while (true) {
    startWhatCan();
    const updating = active[updateLane]!;
    const rate = rates.of(busy, updating >= 0 && causeOf[updating] === accumulateCause);
    let step = current >= 0 ? momentLeft : Number.POSITIVE_INFINITY;
    let ending = -1;
    for (let lane = 0; lane < lanes.length; lane++) {
      if (active[lane]! >= 0 && remaining[lane]! / rate[lane]! < step) {
        step = remaining[lane]! / rate[lane]!;
        ending = lane;
      }
    }
    if (step === Number.POSITIVE_INFINITY) break;
    now += step;
    momentLeft -= step;
    for (let lane = 0; lane < lanes.length; lane++) {
      if (active[lane]! >= 0) remaining[lane] = Math.max(0, remaining[lane]! - step * rate[lane]!);
    }
    if (ending < 0) endMoment();
    else endTicket(ending);
  }
  if (open > 0 || nextMoment < momentCount || current >= 0) {
    throw new TierraError(
      'E_INTERNAL',
      `null device: deadlock at moment ${nextMoment} of ${momentCount}, ${open} of ${ticketCount} tickets never ran`,
    );
  }
  return timeline;
}
