/**
 * Runs a schedule on a virtual clock, action by action, with transfers that behave as the worst network does
 * (`rendezvous`: a send waits until its receive is reached, both ranks stand still meanwhile) or as a good one
 * (`buffered`: a send never waits, a receive only lets the work that needs it wait).
 */
import { TierraError } from '../../../core/errors.ts';
import { durationOf, type ScheduleCosts, unitCosts } from './costs.ts';
import { doneKeys, needsOf } from './timing.ts';
import {
  type Action,
  type ComputeAction,
  endsFlight,
  isTransfer,
  label,
  type Schedule,
  type TransferAction,
} from './types.ts';

export type TransferModel = 'buffered' | 'rendezvous';

export interface SimulatedEvent {
  readonly rank: number;
  readonly action: Action;
  readonly start: number;
  readonly end: number;
}

export interface RankOutcome {
  /** Time spent computing. */
  readonly busy: number;
  readonly firstStart: number;
  readonly lastEnd: number;
  /** Most (stage, micro-batch) pairs between their forward and the end of their backward. */
  readonly peakInFlight: number;
}

export interface Simulation {
  readonly events: readonly SimulatedEvent[];
  readonly ranks: readonly RankOutcome[];
  readonly makespan: number;
  /** Share of all ranks' time, from the first start to the last end anywhere, in which nothing is computed. */
  readonly bubble: number;
  /** The same within each rank's own first start and last end: what remains when steps follow each other without meeting. */
  readonly innerBubble: number;
}

/** Throws `E_PLAN` when the ranks come to stand, naming what each waits for. */
export function simulate(
  schedule: Schedule,
  costs: ScheduleCosts = unitCosts,
  model: TransferModel = 'buffered',
): Simulation {
  const run = new Run(schedule, costs, model);
  run.toTheEnd();
  return run.outcome();
}

class Run {
  readonly #schedule: Schedule;
  readonly #costs: ScheduleCosts;
  readonly #model: TransferModel;
  readonly #next: number[];
  readonly #clock: number[];
  /** By rank: when results of computation are there, own or received. */
  readonly #there: Map<string, number>[];
  /** Arrival times of what was sent, by transfer. */
  readonly #sent = new Map<string, number>();
  readonly #flight: { now: number; peak: number }[];
  readonly #events: SimulatedEvent[] = [];

  constructor(schedule: Schedule, costs: ScheduleCosts, model: TransferModel) {
    this.#schedule = schedule;
    this.#costs = costs;
    this.#model = model;
    this.#next = schedule.actions.map(() => 0);
    this.#clock = schedule.actions.map(() => 0);
    this.#there = schedule.actions.map(() => new Map());
    this.#flight = schedule.actions.map(() => ({ now: 0, peak: 0 }));
  }

  toTheEnd(): void {
    const ranks = this.#schedule.actions.keys();
    for (const all = [...ranks]; all.some((rank) => this.#advance(rank)); );
    const stuck = this.#schedule.actions.flatMap((list, rank) =>
      this.#next[rank]! < list.length ? [`rank ${rank} at ${label(list[this.#next[rank]!]!)}`] : [],
    );
    if (stuck.length === 0) return;
    throw new TierraError(
      'E_PLAN',
      `the ${this.#schedule.name} schedule deadlocks with ${this.#model} transfers: ${stuck.join(', ')}`,
      { hint: 'Order sends and receives as one global order of all events would.' },
    );
  }

  /** Carries out what `rank` can; true when that was something. */
  #advance(rank: number): boolean {
    let moved = false;
    for (let action = this.#at(rank); action !== undefined; action = this.#at(rank)) {
      const done = isTransfer(action) ? this.#transfer(rank, action) : this.#compute(rank, action);
      if (!done) break;
      moved = true;
    }
    return moved;
  }

  #at(rank: number): Action | undefined {
    return this.#schedule.actions[rank]![this.#next[rank]!];
  }

  #compute(rank: number, action: ComputeAction): boolean {
    const { local, crossing } = needsOf(action, this.#schedule.stages);
    let start = this.#clock[rank]!;
    for (const key of crossing === null ? local : [...local, crossing.key]) {
      const at = this.#there[rank]!.get(key);
      if (at === undefined) return false;
      start = Math.max(start, at);
    }
    const end = start + durationOf(action, this.#costs);
    for (const key of doneKeys(action)) this.#there[rank]!.set(key, end);
    this.#count(rank, action);
    this.#step(rank, action, start, end);
    return true;
  }

  #transfer(rank: number, action: TransferAction): boolean {
    if (this.#model === 'rendezvous') return this.#meet(rank, action);
    const key = transferKey(action);
    const now = this.#clock[rank]!;
    if (action.kind === 'send') {
      const made = this.#there[rank]!.get(resultKey(action));
      if (made === undefined) return false;
      this.#sent.set(key, Math.max(now, made) + this.#costs.transfer);
      this.#step(rank, action, now, now);
      return true;
    }
    const arrives = this.#sent.get(key);
    if (arrives === undefined) return false;
    this.#there[rank]!.set(resultKey(action), arrives);
    this.#step(rank, action, now, now);
    return true;
  }

  /** Both ranks stand at the transfer: it takes place. */
  #meet(rank: number, action: TransferAction): boolean {
    const other = this.#at(action.peer);
    if (other === undefined || !isTransfer(other) || other.peer !== rank || other.kind === action.kind) return false;
    if (transferKey(other) !== transferKey(action)) return false;
    const [from, to] = action.kind === 'send' ? [rank, action.peer] : [action.peer, rank];
    if (!this.#there[from]!.has(resultKey(action))) return false;
    const start = Math.max(this.#clock[rank]!, this.#clock[action.peer]!);
    const end = start + this.#costs.transfer;
    this.#there[to]!.set(resultKey(action), end);
    this.#step(rank, action, start, end);
    this.#step(action.peer, other, start, end);
    return true;
  }

  #count(rank: number, { kind }: ComputeAction): void {
    const flight = this.#flight[rank]!;
    if (kind === 'forward') flight.now++;
    else if (endsFlight(kind)) flight.now--;
    flight.peak = Math.max(flight.peak, flight.now);
  }

  #step(rank: number, action: Action, start: number, end: number): void {
    this.#events.push({ rank, action, start, end });
    this.#clock[rank] = end;
    this.#next[rank]!++;
  }

  outcome(): Simulation {
    const computed = this.#events.filter(({ action }) => !isTransfer(action));
    const ranks = this.#schedule.actions.map((_, rank): RankOutcome => {
      const own = computed.filter((event) => event.rank === rank);
      return {
        busy: own.reduce((sum, { start, end }) => sum + end - start, 0),
        firstStart: Math.min(...own.map(({ start }) => start)),
        lastEnd: Math.max(...own.map(({ end }) => end)),
        peakInFlight: this.#flight[rank]!.peak,
      };
    });
    const busy = ranks.reduce((sum, rank) => sum + rank.busy, 0);
    const makespan =
      Math.max(...ranks.map(({ lastEnd }) => lastEnd)) - Math.min(...ranks.map(({ firstStart }) => firstStart));
    const inner = ranks.reduce((sum, { firstStart, lastEnd }) => sum + lastEnd - firstStart, 0);
    return {
      events: this.#events,
      ranks,
      makespan,
      bubble: 1 - busy / (ranks.length * makespan),
      innerBubble: 1 - busy / inner,
    };
  }
}

const transferKey = ({ payload, stage, microBatch }: TransferAction): string => `${payload}${stage}.${microBatch}`;

/** Under which name the work that needs a transfer's tensor looks for it. */
const resultKey = ({ payload, stage, microBatch }: TransferAction): string =>
  `${payload === 'activation' ? 'F' : 'g'}${stage}.${microBatch}`;
