import { type Cause, type Lane, lanes } from './plan.ts';
import type { Program } from './program.ts';
import type { Trace } from './trace.ts';

export const causes: readonly Cause[] = [
  'fetch',
  'gradient',
  'accumulate',
  'park',
  'state',
  'update',
  'preview',
  'home',
];

const laneNumber = Object.fromEntries(lanes.map((lane, index) => [lane, index])) as Record<Lane, number>;
const causeNumber = Object.fromEntries(causes.map((cause, index) => [cause, index])) as Record<Cause, number>;

/** Edges grouped by their source: those of node `n` are `to[start[n]] ... to[start[n + 1] - 1]`. */
export interface Edges {
  readonly start: Int32Array;
  readonly to: Int32Array;
}

/** What the null device's clock needs of several steps, in flat arrays: building it is most of a trial's cost. */
export interface Schedule {
  readonly steps: number;
  readonly momentsPerStep: number;
  /** Per ticket. */
  readonly step: Int32Array;
  readonly lane: Uint8Array;
  readonly cause: Uint8Array;
  readonly bytes: Float64Array;
  readonly priority: Float64Array;
  /** Unmet conditions per ticket and per moment (besides the moment before). */
  readonly ticketWaits: Int32Array;
  readonly momentWaits: Int32Array;
  readonly seconds: Float64Array;
  /** Elements updated on the device, per moment. */
  readonly deviceElements: Float64Array;
  readonly afterTicket: Edges;
  readonly afterMoment: Edges;
  readonly momentsAfter: Edges;
}

class EdgeList {
  readonly from: number[] = [];
  readonly to: number[] = [];

  add(from: number, to: number): void {
    this.from.push(from);
    this.to.push(to);
  }

  group(nodes: number): Edges {
    const start = new Int32Array(nodes + 1);
    for (const node of this.from) start[node + 1]!++;
    for (let node = 0; node < nodes; node++) start[node + 1]! += start[node]!;
    const next = start.slice(0, nodes);
    const to = new Int32Array(this.to.length);
    for (let edge = 0; edge < this.to.length; edge++) to[next[this.from[edge]!]!++] = this.to[edge]!;
    return { start, to };
  }
}

class ScheduleBuilder {
  readonly #edges = { afterTicket: new EdgeList(), afterMoment: new EdgeList(), momentsAfter: new EdgeList() };
  readonly arrays: Omit<Schedule, 'steps' | 'momentsPerStep' | 'afterTicket' | 'afterMoment' | 'momentsAfter'>;

  constructor(tickets: number, moments: number) {
    this.arrays = {
      step: new Int32Array(tickets),
      lane: new Uint8Array(tickets),
      cause: new Uint8Array(tickets),
      bytes: new Float64Array(tickets),
      priority: new Float64Array(tickets),
      ticketWaits: new Int32Array(tickets),
      momentWaits: new Int32Array(moments),
      seconds: new Float64Array(moments),
      deviceElements: new Float64Array(moments),
    };
  }

  describe(index: number, step: number, of: { lane: Lane; cause: Cause; bytes: number }, priority: number): void {
    const { arrays } = this;
    arrays.step[index] = step;
    arrays.lane[index] = laneNumber[of.lane];
    arrays.cause[index] = causeNumber[of.cause];
    arrays.bytes[index] = of.bytes;
    arrays.priority[index] = priority;
  }

  ticketAfterTicket(ticket: number, earlier: number): void {
    this.#edges.afterTicket.add(earlier, ticket);
    this.arrays.ticketWaits[ticket]!++;
  }

  ticketAfterMoment(ticket: number, moment: number): void {
    this.#edges.afterMoment.add(moment, ticket);
    this.arrays.ticketWaits[ticket]!++;
  }

  momentAfterTicket(moment: number, ticket: number): void {
    this.#edges.momentsAfter.add(ticket, moment);
    this.arrays.momentWaits[moment]!++;
  }

  finish(steps: number, momentsPerStep: number): Schedule {
    const tickets = this.arrays.lane.length;
    return {
      ...this.arrays,
      steps,
      momentsPerStep,
      afterTicket: this.#edges.afterTicket.group(tickets),
      afterMoment: this.#edges.afterMoment.group(this.arrays.seconds.length),
      momentsAfter: this.#edges.momentsAfter.group(tickets),
    };
  }
}

export function scheduleOfProgram(program: Program): Schedule {
  const { tickets, moments, layout } = program;
  const builder = new ScheduleBuilder(tickets.length, moments.length);
  tickets.forEach((ticket, index) => {
    builder.describe(index, ticket.step, ticket, ticket.priority);
    for (const earlier of ticket.after) builder.ticketAfterTicket(index, earlier);
    if (ticket.afterMoment >= 0) builder.ticketAfterMoment(index, ticket.afterMoment);
  });
  moments.forEach((moment, index) => {
    builder.arrays.seconds[index] = moment.seconds;
    builder.arrays.deviceElements[index] = moment.deviceUpdates.reduce(
      (sum, { chunk }) => sum + layout.chunks[chunk]!.elements,
      0,
    );
    for (const ticket of moment.waits) builder.momentAfterTicket(index, ticket);
  });
  return builder.finish(program.steps, program.momentsPerStep);
}

/** What a plan and a cyclic draft have in common. */
export interface CyclicStep {
  readonly tickets: readonly {
    readonly lane: Lane;
    readonly cause: Cause;
    readonly bytes: number;
    readonly priority: number;
    readonly after: readonly number[];
    readonly afterPrevious: readonly number[];
    readonly afterMoment: number;
    readonly afterPreviousMoment: number;
  }[];
  readonly moments: readonly {
    readonly waits: readonly number[];
    readonly waitsPrevious: readonly number[];
    readonly deviceUpdates: readonly number[];
  }[];
}

/** The same as unrolling the plan first, without making an object of every ticket. */
export function scheduleOfStep(cyclic: CyclicStep, trace: Trace, elements: readonly number[], steps: number): Schedule {
  const { tickets, moments } = cyclic;
  const builder = new ScheduleBuilder(tickets.length * steps, moments.length * steps);
  for (let step = 0; step < steps; step++) {
    const firstTicket = step * tickets.length;
    const firstMoment = step * moments.length;
    tickets.forEach((ticket, id) => {
      const index = firstTicket + id;
      builder.describe(index, step, ticket, firstMoment + ticket.priority);
      for (const earlier of ticket.after) builder.ticketAfterTicket(index, firstTicket + earlier);
      if (ticket.afterMoment >= 0) builder.ticketAfterMoment(index, firstMoment + ticket.afterMoment);
      if (step === 0) return;
      for (const earlier of ticket.afterPrevious)
        builder.ticketAfterTicket(index, firstTicket - tickets.length + earlier);
      if (ticket.afterMoment < 0 && ticket.afterPreviousMoment >= 0) {
        builder.ticketAfterMoment(index, firstMoment - moments.length + ticket.afterPreviousMoment);
      }
    });
    moments.forEach((moment, id) => {
      const index = firstMoment + id;
      builder.arrays.seconds[index] = trace.moments[id]!.seconds;
      builder.arrays.deviceElements[index] = moment.deviceUpdates.reduce((sum, chunk) => sum + elements[chunk]!, 0);
      for (const ticket of moment.waits) builder.momentAfterTicket(index, firstTicket + ticket);
      if (step === 0) return;
      for (const ticket of moment.waitsPrevious)
        builder.momentAfterTicket(index, firstTicket - tickets.length + ticket);
    });
  }
  return builder.finish(steps, moments.length);
}
