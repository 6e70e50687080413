/** One executor and the tickets of a measurement; everything is given back by `dispose`. */
import type { ArenaId, ExecutorId, Ticket, TicketId, TimelineSpan } from '../../native/binding.ts';
import { native } from '../../native/load.ts';

type Distributed<T> = T extends unknown
  ? Omit<T, 'id' | 'after' | 'afterMoment' | 'afterCell' | 'cause' | 'step'>
  : never;
/** A ticket without the fields that are the same for all. */
export type PlainTicket = Distributed<Ticket>;

export class Bench {
  readonly executor: ExecutorId;
  readonly #arenas: ArenaId[] = [];
  #next = 1;

  constructor(device: number, updateThreads: number, timelineCapacity = 16) {
    this.executor = native().executorCreate({ device, updateThreads, scaleCells: 1, timelineCapacity });
  }

  arena(kind: 'host' | 'device', bytes: number, device: number): ArenaId {
    const arena = native().arenaCreate(kind, bytes, Math.max(0, device), true);
    this.#arenas.push(arena);
    native().arenaFill(arena, 0, bytes, 0);
    return arena;
  }

  /** Seconds until all of `tickets`, which do not wait for each other, are done. `step` is stamped on extents. */
  run(tickets: readonly PlainTicket[], step = 0): number {
    const began = performance.now();
    const ids: TicketId[] = [];
    const complete = tickets.map((ticket) => {
      const id = this.#next++ as TicketId;
      ids.push(id);
      return { ...ticket, id, after: [], afterMoment: -1, afterCell: -1, cause: 'measure', step } as Ticket;
    });
    native().submit(this.executor, complete);
    native().drain(this.executor);
    return (performance.now() - began) / 1e3;
  }

  /** What ran since the last call, as far as `timelineCapacity` goes. */
  spans(): readonly TimelineSpan[] {
    return native().timeline(this.executor).spans;
  }

  dispose(): void {
    native().executorDestroy(this.executor);
    for (const arena of this.#arenas) native().arenaDestroy(arena);
  }
}

/** A measurement goes on for at most about this long; on a busy machine that means fewer rounds. */
const patienceMs = 120;

/** Runs `body` once to warm up, then up to `rounds` times, at least once. */
function sample(rounds: number, body: () => number): number[] {
  body();
  const began = performance.now();
  const values: number[] = [];
  do values.push(body());
  while (values.length < rounds && performance.now() - began < patienceMs);
  return values.sort((a, b) => a - b);
}

/** The least: what others do on the machine only adds. */
export const leastOf = (rounds: number, body: () => number): number => sample(rounds, body)[0]!;

/** The median: what a run meets while others work, too. */
export function medianOf(rounds: number, body: () => number): number {
  const values = sample(rounds, body);
  return values[Math.floor(values.length / 2)]!;
}

export const secondsFor = (body: () => void): number => {
  const began = performance.now();
  body();
  return (performance.now() - began) / 1e3;
};
