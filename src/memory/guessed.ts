/** A step in one of its two courses: with updates that guess that nothing will be clipped, or with all of them behind the norm. */
import type { Plan, Ticket, UpdateMode } from './plan.ts';
import { type ChunkId, type TicketId, ticketId } from './types.ts';

interface Linked {
  readonly after: readonly number[];
  readonly afterPrevious: readonly number[];
  readonly unlessGuessed?: number | undefined;
}

interface Waiting {
  readonly waits: readonly number[];
  readonly waitsPrevious: readonly number[];
}

type GuessedStep = Pick<Plan, 'tickets' | 'moments' | 'chunks'>;

interface Course<T, M> {
  readonly tickets: readonly T[];
  readonly moments: readonly M[];
}

/** A step that guesses: previews whose parameters come with a guessed update fall away, and the rest is numbered anew. */
export function guessingCourse<T extends Linked, M extends Waiting>({ tickets, moments }: Course<T, M>): Course<T, M> {
  if (tickets.every(({ unlessGuessed }) => unlessGuessed === undefined)) return { tickets, moments };
  const number = new Int32Array(tickets.length);
  let kept = 0;
  for (const [index, { unlessGuessed }] of tickets.entries()) if (unlessGuessed === undefined) number[index] = kept++;
  const standIn = (index: number): number => number[tickets[index]!.unlessGuessed ?? index]!;
  // What a ticket does itself it does not wait for.
  const others = (indices: readonly number[], self: number): number[] =>
    indices.filter((index) => tickets[index]!.unlessGuessed !== self).map(standIn);
  return {
    tickets: tickets.flatMap((ticket, index) => {
      if (ticket.unlessGuessed !== undefined) return [];
      return [{ ...ticket, after: others(ticket.after, index), afterPrevious: ticket.afterPrevious.map(standIn) }];
    }),
    moments: moments.map((moment) => ({
      ...moment,
      waits: moment.waits.map(standIn),
      waitsPrevious: moment.waitsPrevious.map(standIn),
    })),
  };
}

/** Modes in which a chunk's new parameter may be made before the norm is known. */
export const guesses = (update: UpdateMode): boolean => update === 'speculated' || update === 'previewed';

const makesNew = ({ cause }: Ticket): boolean => cause === 'update' || cause === 'preview';

/** Chunks whose speculated update may also wait for the norm: nothing before the norm needs a slot that it empties. */
export function mayWait({ tickets, moments, chunks }: GuessedStep): ReadonlySet<ChunkId> {
  const norm = moments.findIndex(({ pass }) => pass === 'norm');
  const needed = new Uint8Array(tickets.length);
  const open: TicketId[] = moments.slice(0, norm + 1).flatMap(({ waits }) => waits);
  while (open.length > 0) {
    const id = open.pop()!;
    if (needed[id] === 1) continue;
    needed[id] = 1;
    open.push(...tickets[id]!.after);
  }
  const early = new Set(
    tickets.filter((ticket) => makesNew(ticket) && needed[ticket.id] === 1).map(({ chunk }) => chunk),
  );
  return new Set(chunks.filter(({ chunk, update }) => guesses(update) && !early.has(chunk)).map(({ chunk }) => chunk));
}

/**
 * A step that does not guess: what would have been guessed waits for the norm. Where its parameter comes first, the state follows before the
 * next gradient comes.
 */
export function waitingCourse(plan: GuessedStep): Pick<Plan, 'tickets' | 'moments'> {
  const { tickets, moments } = plan;
  const norm = moments.findIndex(({ pass }) => pass === 'norm');
  const waiting = mayWait(plan);
  const following = new Set(tickets.flatMap(({ unlessGuessed }) => unlessGuessed ?? []));
  const firstGradient = new Map<number, number>();
  for (const { kind, chunk, priority } of tickets) {
    if (kind === 'gradient') firstGradient.set(chunk, Math.min(priority, firstGradient.get(chunk) ?? priority));
  }
  const changed = (ticket: Ticket): Ticket => {
    if (!makesNew(ticket) || !waiting.has(ticket.chunk)) return ticket;
    if (!following.has(ticket.id)) return { ...ticket, afterMoment: norm };
    const priority = moments.length + firstGradient.get(ticket.chunk)!;
    return { ...ticket, afterMoment: norm, to: ticket.stateTo ?? ticket.from, priority };
  };
  return { tickets: tickets.map(changed), moments };
}

/** The same plan without previews that only steps that do not guess have. */
export function withoutFollowing(plan: Plan): Plan {
  const { tickets, moments } = guessingCourse(plan);
  return { ...plan, tickets: tickets.map((ticket, index) => ({ ...ticket, id: ticketId(index) })), moments };
}
