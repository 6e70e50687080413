/** What a store tells whoever watches it: the plan it made, and what happened when in each step. */
import type { AnyLane, LaneName } from '../native/binding.ts';
import type { TierUse } from './store.ts';

/** Where one kind of bytes rests between steps. */
export type RestingBytes = Readonly<Record<'gpu' | 'host' | 'nvme', number>>;

/** What each lane moves in a step, and how long that keeps it busy. */
export type LaneUses = Readonly<Record<LaneName, { readonly bytes: number; readonly busySeconds: number }>>;

/** A plan in a few numbers. */
export interface PlanSummary {
  readonly parameters: RestingBytes;
  readonly states: RestingBytes;
  readonly gradients: RestingBytes;
  readonly chunks: number;
  /** What the forecast reckons with: how long a step takes, how much of it is computing, and what each lane moves for how long. */
  readonly stepSeconds: number;
  readonly computeSeconds: number;
  readonly lanes: LaneUses;
  /** What the forecast says holds the step up. */
  readonly limit: 'compute' | 'disk' | 'link' | 'optimizer';
}

export type TimelineLane = 'step' | 'compute' | 'submitted' | 'wait' | AnyLane;

/** One thing that took time. Times are microseconds on the clock of `native().nowUs()`. */
export interface TimelineEntry {
  readonly lane: TimelineLane;
  /** `forward h.3`, `parameters from disk`: words that stand alone. */
  readonly name: string;
  readonly startUs: number;
  readonly durationUs: number;
  /** Step (from 1), chunk, bytes, ticket: for reading up. */
  readonly details: Readonly<Record<string, number | string>>;
}

/** Bytes in use on each tier at one moment. */
export interface TimelineCounter {
  readonly atUs: number;
  readonly uses: readonly TierUse[];
}

/**
 * What became known since the last call, once per step. Transfers and updates that run on behind the next step arrive
 * with that one.
 */
export interface TimelineBatch {
  readonly entries: readonly TimelineEntry[];
  readonly counters: readonly TimelineCounter[];
  /** Spans that found no room and are missing. */
  readonly dropped: number;
}

export interface StoreObserver {
  /** Called once the step is planned, before anything is placed. */
  planned?(summary: PlanSummary): void;
  /** Called once everything is where a plan for another course wants it; `change` says what changed. */
  replanned?(change: string): void;
  /** Where it is absent, no timeline is kept. */
  timeline?(batch: TimelineBatch): void;
}

/** What training moved and waited for: means per step, without the first one. */
export interface MovementReport {
  readonly plan: PlanSummary;
  readonly steps: number;
  readonly stepSeconds: number;
  readonly computeSeconds: number;
  readonly lanes: LaneUses;
  /** Seconds from a step's last work on the device to the next one's first; absent where compute does not run behind its thread. */
  readonly betweenSeconds?: number;
  /** Seconds that compute stood still within a step, by what it waited for; longest first. */
  readonly waits: readonly { readonly cause: string; readonly seconds: number }[];
  /** Steps by what became of updates that may guess that nothing is clipped; absent where none may. */
  readonly guesses?: { readonly right: number; readonly redone: number; readonly waited: number };
}
