/**
 * What happened when, as the executor's lanes recorded it. Sums are kept always; single spans only for an observer that wants a
 * timeline. On the CPU compute stands still while its thread waits; a GPU, which runs behind that thread, between two moments.
 */
import { type Cause, type Lane, type Layout, type Plan, perLane, type Ticket } from '../../memory/index.ts';
import type { AnyLane, ExecutorId, LaneName, TimelineSpan } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import type { MovementReport, PlanSummary, StoreObserver, TimelineCounter, TimelineEntry } from '../observer.ts';
import type { TierUse } from '../store.ts';
import { summarizePlan } from './reportPlan.ts';
import { splitGap, splitWait, type TicketTimes, type WaitContext } from './reportWaits.ts';
import { hostWords, ticketWords } from './reportWords.ts';

/** The tickets of one step as they were handed to the executor. */
export interface Issued {
  readonly executor: ExecutorId;
  readonly firstId: number;
  /** Plan tickets in the order of their ids. */
  readonly order: readonly number[];
  /** Id by plan ticket. */
  readonly ids: Float64Array;
  readonly guess: boolean;
}

interface IssuedStep extends Issued {
  readonly step: number;
}

/** Steps whose tickets may run at one time, at most. */
const stepsUnderWay = 4;

const laneNames: readonly LaneName[] = ['read', 'write', 'toDevice', 'toHost', 'update'];

/** Sums over the measured steps. */
class Totals {
  steps = 0;
  stepUs = 0;
  computeUs = 0;
  betweenUs = 0;
  readonly bytes = new Map<LaneName, number>();
  readonly busyUs = new Map<LaneName, number>();
  readonly waitUs = new Map<string, number>();
}

const add = <Key>(sums: Map<Key, number>, key: Key, value: number): void => {
  sums.set(key, (sums.get(key) ?? 0) + value);
};

export class StepRecorder {
  readonly #plan: Plan;
  readonly #observer: StoreObserver;
  readonly #summary: PlanSummary;
  #totals = new Totals();
  /** Bytes moved for a step before it began: counted when it ends. */
  readonly #ahead = new Map<LaneName, number>();
  /** Newest first: what still runs may be some steps old. */
  #issued: readonly IssuedStep[] = [];
  /** Steps before this one are not in the totals, nor is what they left running. */
  #firstCounted = 0;
  #step = 0;
  /** Steps that are over. */
  #finished = 0;
  #stepStartUs = 0;
  #stepEndUs = 0;
  /** Moments that were left, and are not on the timeline yet. */
  readonly #left = new Map<number, { readonly name: string; readonly step: number }>();
  readonly #isBehind: boolean;
  /** When the device was done with the last moment that is known of. */
  #deviceEndUs: number | null = null;
  #entries: TimelineEntry[] = [];
  #counters: TimelineCounter[] = [];

  constructor(plan: Plan, layout: Layout, observer: StoreObserver, device: string) {
    this.#plan = plan;
    this.#isBehind = device !== 'cpu';
    this.#observer = observer;
    this.#summary = summarizePlan(plan, layout);
    observer.planned?.(this.#summary);
  }

  /** Step `step` (from 0) begins. */
  beginStep(step: number): void {
    this.#step = step + 1;
    this.#stepStartUs = native().nowUs();
  }

  /** The step's tickets are handed over. */
  issued(issued: Issued): void {
    this.#issued = [{ ...issued, step: this.#step }, ...this.#issued.slice(0, stepsUnderWay - 1)];
  }

  /** The first tickets of the next step are handed over. */
  issuedEarly(issued: Issued): void {
    this.#issued = [{ ...issued, step: this.#step + 1 }, ...this.#issued.slice(0, stepsUnderWay - 1)];
  }

  /** The executor's moment is about to be left. `name` is asked for only when it is recorded. */
  endCompute(moment: number, name: () => string, uses: () => TierUse[]): void {
    const isShown = this.#observer.timeline !== undefined;
    this.#left.set(moment, { name: isShown ? name() : '', step: this.#step });
    if (isShown) this.#counters.push({ atUs: native().nowUs(), uses: uses() });
  }

  endStep(): void {
    const startUs = this.#stepStartUs;
    this.#stepEndUs = native().nowUs();
    const durationUs = this.#stepEndUs - startUs;
    // The first step fills empty caches and slots: it is in the timeline, not in the means.
    if (this.#finished++ === 1) {
      this.#totals = new Totals();
      this.#firstCounted = this.#step;
    }
    for (const [lane, bytes] of this.#ahead) add(this.#totals.bytes, lane, bytes);
    this.#ahead.clear();
    this.#totals.steps++;
    this.#totals.stepUs += durationUs;
    if (this.#observer.timeline === undefined) return;
    const details = { step: this.#step };
    this.#entries.push({ lane: 'step', name: `step ${this.#step}`, startUs, durationUs, details });
  }

  /** Takes what the executor's lanes did since the last call; between steps. */
  collect(): void {
    const [now] = this.#issued;
    if (now === undefined) return;
    const { spans, busyUs, dropped } = native().timeline(now.executor);
    for (const lane of laneNames) add(this.#totals.busyUs, lane, busyUs[lane]);
    const context = new SpanContext(spans, (id) => this.#ticketsBefore(id));
    for (const span of spans) {
      if (span.lane === 'compute') this.#takeCompute(span, context);
      else if (span.lane === 'wait') this.#takeWait(span, context);
      else this.#takeTicket(span, span.lane);
    }
    const { timeline } = this.#observer;
    if (timeline === undefined) return;
    timeline.call(this.#observer, { entries: this.#entries, counters: this.#counters, dropped });
    this.#entries = [];
    this.#counters = [];
  }

  /** The executor is about to be thrown away: ids begin anew. */
  reset(): void {
    this.collect();
    this.#issued = [];
    this.#left.clear();
    this.#deviceEndUs = null;
  }

  /** Means over the steps after the first (the first alone, as long as there is no other); null before any. */
  report(): MovementReport | null {
    const { steps, stepUs, computeUs, betweenUs, bytes, busyUs, waitUs } = this.#totals;
    if (steps === 0) return null;
    const perStep = (sum: number): number => sum / steps;
    return {
      plan: this.#summary,
      steps,
      stepSeconds: perStep(stepUs) / 1e6,
      computeSeconds: perStep(computeUs) / 1e6,
      ...(this.#isBehind ? { betweenSeconds: perStep(betweenUs) / 1e6 } : {}),
      lanes: perLane((lane) => ({
        bytes: perStep(bytes.get(lane) ?? 0),
        busySeconds: perStep(busyUs.get(lane) ?? 0) / 1e6,
      })),
      waits: [...waitUs]
        .map(([cause, sum]) => ({ cause, seconds: perStep(sum) / 1e6 }))
        .sort((a, b) => b.seconds - a.seconds),
    };
  }

  #takeTicket(span: TimelineSpan, lane: AnyLane): void {
    const { startUs, durationUs, bytes, chunk, ticket } = span;
    // What is not among the planned tickets is done again because the norm disagreed with a guess.
    const step = this.#find(ticket)?.step;
    const isPlanned = lane !== 'stage' && lane !== 'save';
    if (isPlanned && (step ?? 0) > this.#step) add(this.#ahead, lane, bytes);
    else if (isPlanned && (step ?? this.#step) >= this.#firstCounted) add(this.#totals.bytes, lane, bytes);
    if (this.#observer.timeline === undefined) return;
    const again = step === undefined && span.name !== 'activation' ? { again: 'clipped' } : {};
    const details = { step: step ?? this.#step, chunk, bytes, ticket, ...again };
    this.#entries.push({ lane, name: spanWords(span), startUs, durationUs, details });
  }

  #takeCompute({ startUs, durationUs, ticket }: TimelineSpan, context: SpanContext): void {
    const left = this.#left.get(ticket);
    this.#left.delete(ticket);
    const endedUs = this.#deviceEndUs;
    this.#deviceEndUs = startUs + durationUs;
    // Moments in which there was nothing to do, and what came before the last reset.
    if (left === undefined) return;
    const { name, step } = left;
    if (step >= this.#firstCounted) this.#totals.computeUs += durationUs;
    if (this.#isBehind && endedUs !== null) this.#takeGap({ startUs: endedUs, endUs: startUs }, ticket, step, context);
    if (this.#observer.timeline === undefined) return;
    this.#entries.push({ lane: 'compute', name, startUs, durationUs, details: { step } });
  }

  /** The device stood still before `moment`. */
  #takeGap(gap: TicketTimes, moment: number, step: number, context: SpanContext): void {
    const startUs = step === this.#step ? Math.max(gap.startUs, this.#stepStartUs) : gap.startUs;
    this.#takeBetween({ startUs: gap.startUs, endUs: Math.min(startUs, gap.endUs) }, step);
    const index = moment % this.#plan.moments.length;
    const at = this.#issued.findIndex((issued) => issued.step === step);
    const awaited = at < 0 ? [] : this.#awaitedBy(index, this.#issued[at]!, this.#issued[at + 1]);
    for (const piece of splitGap({ startUs, endUs: gap.endUs }, awaited, context)) {
      const words = context.words(piece.ticket) ?? this.#planWords(piece.ticket) ?? hostWords;
      const us = piece.endUs - piece.startUs;
      if (step >= this.#firstCounted) add(this.#totals.waitUs, words, us);
      if (this.#observer.timeline === undefined) continue;
      const details = { step, for: this.#momentWords(`moment ${index}`), ticket: piece.ticket };
      this.#entries.push({ lane: 'wait', name: words, startUs: piece.startUs, durationUs: us, details });
    }
  }

  /** Nobody had asked for the next step yet. */
  #takeBetween({ startUs, endUs }: TicketTimes, step: number): void {
    if (endUs <= startUs) return;
    if (step >= this.#firstCounted) this.#totals.betweenUs += endUs - startUs;
    if (this.#observer.timeline === undefined) return;
    const details = { step };
    this.#entries.push({ lane: 'wait', name: 'between steps', startUs, durationUs: endUs - startUs, details });
  }

  #takeWait(span: TimelineSpan, context: SpanContext): void {
    if (this.#isBehind) return;
    const { startUs, durationUs, name } = span;
    const wait = { startUs, endUs: startUs + durationUs };
    // Waits outside steps, such as for a checkpoint, are shown but do not count.
    const counts = startUs >= this.#stepStartUs && startUs <= this.#stepEndUs;
    for (const piece of splitWait(wait, this.#awaited(span, context), context)) {
      const words = context.words(piece.ticket) ?? this.#planWords(piece.ticket) ?? name;
      const us = piece.endUs - piece.startUs;
      if (counts) add(this.#totals.waitUs, words, us);
      if (this.#observer.timeline === undefined) continue;
      const details = { step: this.#step, for: this.#momentWords(name), ticket: piece.ticket };
      this.#entries.push({ lane: 'wait', name: words, startUs: piece.startUs, durationUs: us, details });
    }
  }

  /** For tickets that have not ended yet. */
  #planWords(id: number): string | undefined {
    const found = this.#find(id);
    return found === null ? undefined : ticketWords(found.ticket);
  }

  /** What a wait was for, by the name that it was given: `moment 12`, `norm`. */
  #awaited({ name, ticket }: TimelineSpan, context: SpanContext): readonly number[] {
    const { moments, tickets } = this.#plan;
    const moment = momentIn(name);
    if (moments[moment] !== undefined) return this.#awaitedBy(moment, this.#issued[0]!, this.#issued[1]);
    // `drain` waits for everything there is.
    if (ticket === 0) return context.tickets;
    if (name !== 'norm') return [ticket];
    return tickets.flatMap(({ id, kind }) => (kind === 'gradient' ? [this.#issued[0]!.ids[id]!] : []));
  }

  #awaitedBy(moment: number, now: Issued, before: Issued | undefined): readonly number[] {
    const { waits, waitsPrevious } = this.#plan.moments[moment]!;
    const ids = waits.map((index) => now.ids[index]!);
    return before === undefined ? ids : [...ids, ...waitsPrevious.map((index) => before.ids[index]!)];
  }

  #momentWords(name: string): string {
    const moment = this.#plan.moments[momentIn(name)];
    return moment === undefined ? name : moment.unit < 0 ? moment.pass : `${moment.pass} of unit ${moment.unit}`;
  }

  #ticketsBefore(id: number): number[] {
    const found = this.#find(id);
    if (found === null) return [];
    const { ticket, issued } = found;
    const ids = ticket.after.map((index) => issued.ids[index]!);
    const before = this.#issued[this.#issued.indexOf(issued) + 1];
    if (before === undefined) return ids;
    const standIn = (index: number): number =>
      before.guess ? (this.#plan.tickets[index]!.unlessGuessed ?? index) : index;
    return [...ids, ...ticket.afterPrevious.map((index) => before.ids[standIn(index)]!)];
  }

  #find(id: number): { readonly ticket: Ticket; readonly step: number; readonly issued: IssuedStep } | null {
    for (const issued of this.#issued) {
      const index = indexOf(id, issued);
      if (index !== null) return { ticket: this.#plan.tickets[index]!, step: issued.step, issued };
    }
    return null;
  }
}

/** The plan ticket that was given `id`. Ids ascend in `order`, but may have others between them; 0 is not given yet. */
function indexOf(id: number, { order, ids, firstId }: Issued): number | null {
  if (id < firstId) return null;
  let [low, high] = [0, order.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const there = ids[order[middle]!]!;
    if (there === id) return order[middle]!;
    if (there !== 0 && there < id) low = middle + 1;
    else high = middle;
  }
  return null;
}

const momentIn = (name: string): number => (name.startsWith('moment ') ? Number(name.slice('moment '.length)) : -1);

const spanWords = ({ name, lane }: TimelineSpan): string => ticketWords({ cause: name as Cause, lane: lane as Lane });

/** When tickets ran, and which came before which on one lane. */
class SpanContext implements WaitContext {
  readonly #times = new Map<number, TicketTimes>();
  readonly #words = new Map<number, string>();
  readonly #laneBefore = new Map<number, number>();
  readonly #ticketsBefore: (id: number) => number[];

  constructor(spans: readonly TimelineSpan[], ticketsBefore: (id: number) => number[]) {
    this.#ticketsBefore = ticketsBefore;
    const last = new Map<string, number>();
    for (const span of spans) {
      const { lane, ticket, startUs, durationUs } = span;
      if (lane === 'wait' || lane === 'compute') continue;
      this.#words.set(ticket, spanWords(span));
      this.#times.set(ticket, { startUs, endUs: startUs + durationUs });
      const before = last.get(lane);
      if (before !== undefined) this.#laneBefore.set(ticket, before);
      last.set(lane, ticket);
    }
  }

  get tickets(): readonly number[] {
    return [...this.#times.keys()];
  }

  times(ticket: number): TicketTimes | undefined {
    return this.#times.get(ticket);
  }

  words(ticket: number): string | undefined {
    return this.#words.get(ticket);
  }

  before(ticket: number): readonly number[] {
    const held = this.#laneBefore.get(ticket);
    const waited = this.#ticketsBefore(ticket);
    return held === undefined ? waited : [...waited, held];
  }
}
