import type { PlannedMoment, Ticket } from './plan.ts';
import type { SlotId, TicketId } from './types.ts';

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
type Unlinked = Omit<Ticket, 'id' | 'after' | 'afterPrevious' | 'afterMoment' | 'afterPreviousMoment'>;

/** A ticket under construction. References are indices over all drafted steps; "previous" ones appear in cyclic drafts only. */
export interface DraftTicket extends Omit<Unlinked, 'unlessGuessed'> {
  unlessGuessed?: TicketId;
  readonly index: number;
  readonly step: number;
  /** Repetitions are allowed here and removed in the plan. */
  readonly after: number[];
  readonly afterPrevious: number[];
  afterMoment: number;
  afterPreviousMoment: number;
}

export interface DraftMoment extends Mutable<Omit<PlannedMoment, 'waits' | 'waitsPrevious'>> {
  readonly step: number;
  readonly waits: number[];
  readonly waitsPrevious: number[];
}

/** What frees a slot or makes bytes valid: tickets, and moments up to one (-1: none). */
export interface Release {
  readonly tickets: readonly number[];
  readonly moment: number;
}

/**
 * Collects tickets of one cyclic step (a plan), or of several steps in a row (reactive policies, whose course need not repeat).
 * Moments are numbered through all steps; in a cyclic draft moment -1 is the previous step's last one.
 */
export class Draft {
  readonly tickets: DraftTicket[] = [];
  readonly moments: DraftMoment[] = [];
  readonly cyclic: boolean;
  readonly momentsPerStep: number;
  readonly #atEnd: (() => void)[] = [];

  constructor(cyclic: boolean, momentsPerStep: number) {
    this.cyclic = cyclic;
    this.momentsPerStep = momentsPerStep;
  }

  add(step: number, ticket: Unlinked): DraftTicket {
    const links = {
      after: [] as number[],
      afterPrevious: [] as number[],
      afterMoment: -1,
      afterPreviousMoment: -1,
    };
    const draft = { ...ticket, ...links, index: this.tickets.length, step };
    this.tickets.push(draft);
    return draft;
  }

  /** `ticket` may start when moment `moment` is done; a negative one belongs to the step before the first. */
  afterMoment(ticket: DraftTicket, moment: number): void {
    if (moment >= 0) ticket.afterMoment = Math.max(ticket.afterMoment, moment);
    else if (this.cyclic) {
      ticket.afterPreviousMoment = Math.max(ticket.afterPreviousMoment, moment + this.momentsPerStep);
    }
  }

  after(ticket: DraftTicket, release: Release): void {
    for (const index of release.tickets) ticket.after.push(index);
    if (release.moment >= 0) this.afterMoment(ticket, release.moment);
  }

  /** The same, meant of the step before: known only when the draft is complete, and only if it is cyclic. */
  afterPrevious(ticket: DraftTicket, release: () => Release | undefined): void {
    if (!this.cyclic) return;
    this.#atEnd.push(() => {
      const known = release();
      for (const index of known?.tickets ?? []) ticket.afterPrevious.push(index);
      if (known !== undefined && known.moment >= 0) this.afterMoment(ticket, known.moment - this.momentsPerStep);
    });
  }

  /** `ticket` may start when the newest of `releases` for its chunk has come: this step's, where there is one already, or that of the step before. */
  afterNewest(ticket: DraftTicket, releases: ReadonlyMap<number, Release>): void {
    const release = releases.get(ticket.chunk);
    if (release !== undefined) this.after(ticket, release);
    else this.afterPrevious(ticket, () => releases.get(ticket.chunk));
  }

  /** Runs when everything is drafted. */
  atEnd(action: () => void): void {
    this.#atEnd.push(action);
  }

  finish(): void {
    for (const action of this.#atEnd) action();
  }
}

/** One stay in a ring's slot: taken by a ticket, free when all of `freedBy` are complete. */
export interface Stay {
  readonly slot: SlotId;
  readonly freedBy: number[];
}

/**
 * Staging slots taken in turn. Whoever takes a slot waits for the stay before; the first ones for the step before. In a step
 * that repeats, slots are dealt so that each rests as long as the others also across its end: simple turns would
 * give the last and the first stay one slot wherever the slots do not divide the stays.
 */
export class Ring {
  readonly #draft: Draft;
  readonly #slots: readonly SlotId[];
  /** Stays of one step, where they are known beforehand. */
  readonly #expected: number;
  readonly #stays: { readonly ticket: DraftTicket; readonly stay: Stay }[] = [];

  constructor(draft: Draft, slots: readonly SlotId[], expected = 0) {
    this.#draft = draft;
    this.#slots = slots;
    this.#expected = expected;
    draft.atEnd(() => this.#link());
  }

  /** Stays so far. */
  get count(): number {
    return this.#stays.length;
  }

  /** The slot that the next ticket will fill; `bind` it to that ticket. */
  next(): SlotId {
    return this.#slots[dealt(this.#stays.length, this.#slots.length, this.#expected)]!;
  }

  take(ticket: DraftTicket): Stay {
    const stay: Stay = { slot: this.next(), freedBy: [] };
    this.#stays.push({ ticket, stay });
    return stay;
  }

  #link(): void {
    const last = new Map(this.#stays.map(({ stay }) => [stay.slot, stay]));
    const before = new Map<SlotId, Stay>();
    for (const { ticket, stay } of this.#stays) {
      const earlier = before.get(stay.slot);
      if (earlier !== undefined) for (const index of earlier.freedBy) ticket.after.push(index);
      else if (this.#draft.cyclic) for (const index of last.get(stay.slot)!.freedBy) ticket.afterPrevious.push(index);
      before.set(stay.slot, stay);
    }
  }
}

/** Position of turn `turn` among `slots`, when a cycle has `cycle` turns (0: not known): rounds of nearly equal length. */
function dealt(turn: number, slots: number, cycle: number): number {
  if (cycle <= slots || cycle % slots === 0) return turn % slots;
  const rounds = Math.ceil(cycle / slots);
  const round = Math.floor((turn * rounds) / cycle);
  return turn - Math.ceil((round * cycle) / rounds);
}
