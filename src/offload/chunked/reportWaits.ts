/** Splits a wait of compute among the tickets that held it. */

export interface TicketTimes {
  readonly startUs: number;
  readonly endUs: number;
}

export interface WaitPiece extends TicketTimes {
  /** The ticket that was under way, or about to start; 0 where none is known. */
  readonly ticket: number;
}

export interface WaitContext {
  /** When a ticket ran; undefined when it has not ended yet. */
  times(ticket: number): TicketTimes | undefined;
  /** Tickets that `ticket` had to wait for, and the one before it on its lane. */
  before(ticket: number): readonly number[];
}

/** Clock readings on different threads order no finer than this. */
const toleranceUs = 2;

/**
 * From the awaited ticket that ended last backwards, along whatever that ticket itself was waiting for, until the
 * wait is used up. Pieces ascend, touch each other and cover the wait.
 */
export function splitWait(wait: TicketTimes, awaited: readonly number[], context: WaitContext): WaitPiece[] {
  const pieces: WaitPiece[] = [];
  let untilUs = wait.endUs;
  let ticket = latest(awaited, wait.endUs, context) ?? awaited.at(-1) ?? 0;
  while (untilUs > wait.startUs) {
    const times = context.times(ticket);
    const previous = times && latest(context.before(ticket), times.startUs, context);
    const previousEndUs = previous === undefined ? wait.startUs : context.times(previous)!.endUs;
    const fromUs = Math.min(untilUs, Math.max(wait.startUs, previousEndUs));
    if (fromUs < untilUs) pieces.push({ ticket, startUs: fromUs, endUs: untilUs });
    if (previous === undefined) break;
    untilUs = fromUs;
    ticket = previous;
  }
  return pieces.reverse();
}

/** Of `tickets`, the one that ended last, but not after `atUs`. */
function latest(tickets: readonly number[], atUs: number, context: WaitContext): number | undefined {
  let found: number | undefined;
  let foundUs = Number.NEGATIVE_INFINITY;
  for (const ticket of tickets) {
    const times = context.times(ticket);
    if (times === undefined || times.endUs > atUs + toleranceUs || times.endUs <= foundUs) continue;
    found = ticket;
    foundUs = times.endUs;
  }
  return found;
}
