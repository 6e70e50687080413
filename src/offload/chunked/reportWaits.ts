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

/** Devices do not start work on work: shorter gaps are no waits. */
const shortestGapUs = 5;

/**
 * The same for a device that stood still, up to the end of the awaited ticket that ended last. What is left was not waited for: the
 * host had not submitted the work yet. Nothing where the gap is too short to speak of.
 */
export function splitGap(gap: TicketTimes, awaited: readonly number[], context: WaitContext): WaitPiece[] {
  if (gap.endUs - gap.startUs < shortestGapUs) return [];
  const seen = endedBy(gap.endUs, awaited, context);
  const held = awaited.filter((ticket) => (seen.times(ticket)?.endUs ?? 0) > gap.startUs);
  const last = latest(held, gap.endUs, seen);
  const heldUntilUs = last === undefined ? gap.startUs : seen.times(last)!.endUs;
  const pieces = last === undefined ? [] : splitWait({ ...gap, endUs: heldUntilUs }, held, seen);
  const isRest = gap.endUs - heldUntilUs >= shortestGapUs;
  return isRest ? [...pieces, { ticket: 0, startUs: heldUntilUs, endUs: gap.endUs }] : pieces;
}

/**
 * Compute that was made to wait for tickets began after them, whatever the clocks say: the end of a copy is read by a thread that wakes
 * up for it, a tenth of a millisecond late or more.
 */
function endedBy(atUs: number, awaited: readonly number[], context: WaitContext): WaitContext {
  const times = (ticket: number): TicketTimes | undefined => {
    const read = context.times(ticket);
    const isLate = read !== undefined && read.endUs > atUs && awaited.includes(ticket);
    return isLate ? { startUs: Math.min(read.startUs, atUs), endUs: atUs } : read;
  };
  return { times, before: (ticket) => context.before(ticket) };
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
