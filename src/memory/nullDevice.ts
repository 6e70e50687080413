import { TierraError } from '../core/errors.ts';
import { SlotContents } from './contents.ts';
import { LaneRates } from './lanes.ts';
import type { Machine } from './machine.ts';
import { type Lane, lanes } from './plan.ts';
import type { Program } from './program.ts';
import { ReadyQueue } from './readyQueue.ts';

/** When everything happened, by index into the program's tickets and moments, in seconds of the virtual clock. */
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

export interface NullDeviceOptions {
  /** Follow what every slot holds (default). The search leaves it out and checks only the winner. */
  readonly checkContents?: boolean;
}

const laneIndex: Readonly<Record<Lane, number>> = { read: 0, write: 1, toDevice: 2, toHost: 3, update: 4 };

/**
 * Executes a program on lanes with bandwidths and a virtual clock. Throws `E_INTERNAL` on a deadlock or, with
 * `checkContents`, on any use of bytes that are not there.
 */
export function runOnNullDevice(program: Program, machine: Machine, options: NullDeviceOptions = {}): Timeline {
  const { tickets, moments } = program;
  const ticketCount = tickets.length;
  const momentCount = moments.length;
  const timeline: Timeline = {
    ticketStart: new Float64Array(ticketCount).fill(-1),
    ticketEnd: new Float64Array(ticketCount).fill(-1),
    momentStart: new Float64Array(momentCount).fill(-1),
    momentEnd: new Float64Array(momentCount).fill(-1),
    ticketReadyBy: new Int32Array(ticketCount).fill(-1),
    momentReadyBy: new Int32Array(momentCount).fill(-1),
    laneHeldBy: new Int32Array(ticketCount).fill(-1),
  };
  const contents = options.checkContents === false ? null : new SlotContents(program);
  const rates = new LaneRates(machine);
  const graph = dependents(program);
  const queues = lanes.map(() => new ReadyQueue(Float64Array.from(tickets, (ticket) => ticket.priority)));
  const active = new Int32Array(5).fill(-1);
  const lastOnLane = new Int32Array(5).fill(-1);
  const remaining = new Float64Array(5);
  const busy = [false, false, false, false, false];
  let now = 0;
  let current = -1;
  let nextMoment = 0;
  let momentLeft = 0;
  let open = ticketCount;

  const satisfy = (ticket: number, by: number): void => {
    if (--graph.ticketWaits[ticket]! > 0) return;
    timeline.ticketReadyBy[ticket] = by;
    queues[laneIndex[tickets[ticket]!.lane]]!.push(ticket);
  };
  const startWhatCan = (): void => {
    if (current < 0 && nextMoment < momentCount && graph.momentWaits[nextMoment] === 0) {
      current = nextMoment++;
      const moment = moments[current]!;
      contents?.beginMoment(moment);
      timeline.momentStart[current] = now;
      const updated = moment.deviceUpdates.reduce((sum, { chunk }) => sum + program.layout.chunks[chunk]!.elements, 0);
      momentLeft = moment.seconds + updated / machine.deviceUpdateParameters;
    }
    for (let lane = 0; lane < 5; lane++) {
      if (active[lane]! >= 0) continue;
      const ticket = queues[lane]!.pop();
      if (ticket === undefined) continue;
      contents?.beginTicket(tickets[ticket]!);
      active[lane] = ticket;
      busy[lane] = true;
      const held = lastOnLane[lane]!;
      if (held >= 0 && timeline.ticketEnd[held] === now) timeline.laneHeldBy[ticket] = held;
      remaining[lane] = tickets[ticket]!.bytes + machine.latencySeconds * rates.alone(lanes[lane]!);
      timeline.ticketStart[ticket] = now;
    }
  };

  for (let ticket = 0; ticket < ticketCount; ticket++) {
    graph.ticketWaits[ticket]!++;
    satisfy(ticket, -1);
  }
  while (true) {
    startWhatCan();
    const rate = rates.of(busy);
    let step = current >= 0 ? momentLeft : Number.POSITIVE_INFINITY;
    let ending = -1;
    for (let lane = 0; lane < 5; lane++) {
      if (active[lane]! >= 0 && remaining[lane]! / rate[lane]! < step) {
        step = remaining[lane]! / rate[lane]!;
        ending = lane;
      }
    }
    if (step === Number.POSITIVE_INFINITY) break;
    now += step;
    momentLeft -= step;
    for (let lane = 0; lane < 5; lane++) {
      if (active[lane]! >= 0) remaining[lane] = Math.max(0, remaining[lane]! - step * rate[lane]!);
    }
    if (ending < 0) {
      const done = current;
      current = -1;
      contents?.endMoment(moments[done]!);
      timeline.momentEnd[done] = now;
      for (const ticket of graph.afterMoment[done]!) satisfy(ticket, -2 - done);
      continue;
    }
    const ticket = active[ending]!;
    active[ending] = -1;
    busy[ending] = false;
    lastOnLane[ending] = ticket;
    open--;
    contents?.endTicket(tickets[ticket]!);
    timeline.ticketEnd[ticket] = now;
    for (const next of graph.afterTicket[ticket]!) satisfy(next, ticket);
    for (const moment of graph.momentsAfter[ticket]!) {
      if (--graph.momentWaits[moment]! === 0) timeline.momentReadyBy[moment] = ticket;
    }
  }
  if (open > 0 || nextMoment < momentCount || current >= 0) {
    throw new TierraError(
      'E_INTERNAL',
      `null device: deadlock at moment ${nextMoment} of ${momentCount}, ${open} of ${ticketCount} tickets never ran`,
    );
  }
  contents?.finish();
  return timeline;
}

interface Dependents {
  readonly ticketWaits: Int32Array;
  readonly momentWaits: Int32Array;
  readonly afterTicket: readonly number[][];
  readonly afterMoment: readonly number[][];
  readonly momentsAfter: readonly number[][];
}

function dependents({ tickets, moments }: Program): Dependents {
  const ticketWaits = new Int32Array(tickets.length);
  const momentWaits = new Int32Array(moments.length);
  const afterTicket: number[][] = tickets.map(() => []);
  const afterMoment: number[][] = moments.map(() => []);
  const momentsAfter: number[][] = tickets.map(() => []);
  tickets.forEach((ticket, index) => {
    for (const earlier of ticket.after) afterTicket[earlier]!.push(index);
    if (ticket.afterMoment >= 0) afterMoment[ticket.afterMoment]!.push(index);
    ticketWaits[index] = ticket.after.length + (ticket.afterMoment >= 0 ? 1 : 0);
  });
  moments.forEach((moment, index) => {
    for (const ticket of moment.waits) momentsAfter[ticket]!.push(index);
    momentWaits[index] = moment.waits.length;
  });
  return { ticketWaits, momentWaits, afterTicket, afterMoment, momentsAfter };
}
