import { TierraError } from '../core/errors.ts';
import type { Placement, Split } from './placement.ts';
import type { Cause, PlanForecast } from './plan.ts';
import { firstThatFits, thenWithStates } from './problem.ts';
import { causes } from './schedule.ts';

/** A split, what it led to, and how it ran on the null device. */
export interface Trial {
  readonly split: Split;
  readonly placement: Placement;
  /** What the trial cost, in tickets of one step: drafting them once weighs as much as two simulated steps. */
  readonly cost: number;
  readonly forecast: PlanForecast;
}

export interface SearchSpace {
  /** Shares of the undo space to try, the first one to begin with. */
  readonly undos: readonly number[];
  /** Shares of previews to try, beside none. */
  readonly previews: readonly number[];
  readonly feasible: (split: Split) => Placement | TierraError;
  readonly run: (placement: Placement, split: Split) => Trial;
}

/** How many more bytes than with no slack a split may move to the GPU. */
const extraFetchShare = 0.05;
/** Tickets that all trials together may schedule: bounds the time a plan takes, whatever the machine's load. */
const ticketAllowance = 36_000;
/** Waits below this share of the step are not worth a search. */
const noticeable = 0.005;
/** A trial must be this much faster to be worth more bytes. */
const worthwhile = 0.002;

const start: Split = {
  gpuStates: 0,
  residents: 0,
  slack: 0,
  lead: Number.POSITIVE_INFINITY,
  hostStates: 1,
  undo: 1,
  speculate: 'bottom',
  preview: 0,
  staging: 3,
};

/**
 * Looks for the fastest split one dimension at a time, GPU memory first: it decides how much work is left for the rest.
 * Every trial is a full schedule on the null device. Throws the `E_PLAN` of the most frugal split when nothing fits.
 */
export function improve(space: SearchSpace): Trial {
  const depths = [3, 2, 1].map((staging) => ({ ...start, undo: space.undos[0]!, staging }));
  const { split: first } = firstThatFits(thenWithStates(depths), space.feasible);
  let spent = 0;
  const tried = new Map<string, Trial | null>();
  const trial = (split: Split): Trial | null => (spent < ticketAllowance ? run(split) : null);
  const run = (split: Split): Trial | null => {
    const key = JSON.stringify(split);
    const known = tried.get(key);
    if (known !== undefined) return known;
    const placement = space.feasible(split);
    const result = placement instanceof TierraError ? null : space.run(placement, split);
    spent += result?.cost ?? 0;
    tried.set(key, result);
    return result;
  };
  let best = trial(first)!;
  const consider = (change: Partial<Split>): void => {
    const split = { ...best.split, ...change };
    const candidate = trial(split);
    if (candidate === null || !better(candidate, best)) return;
    if (split.slack > 0) {
      const frugal = trial({ ...split, slack: 0 });
      const least = frugal?.forecast.movedBytes.toDevice ?? 0;
      if (candidate.forecast.movedBytes.toDevice > least * (1 + extraFetchShare)) return;
    }
    best = candidate;
  };
  const held = (...by: readonly Cause[]): boolean => {
    const { stallSeconds, stepSeconds } = best.forecast;
    return by.reduce((sum, cause) => sum + (stallSeconds[cause] ?? 0), 0) > noticeable * stepSeconds;
  };
  const heldByAnything = (): boolean => held(...causes);
  if (heldByAnything()) for (const gpuStates of [0.5, 1, 0.25, 0.75]) consider({ gpuStates });
  if (held('fetch', 'gradient', 'accumulate')) for (const residents of [0.5, 0.8, 0.25, 0.95]) consider({ residents });
  if (held('fetch')) for (const slack of slackSteps(best.placement)) consider({ slack });
  if (heldByAnything()) for (const lead of [1, 2, 4]) consider({ lead });
  if (held('update', 'preview', 'state', 'home', 'park')) {
    for (const speculate of ['even', 'bottom'] as const) for (const undo of space.undos) consider({ speculate, undo });
  }
  if (held('update')) for (const preview of space.previews) consider({ preview });
  if (held('state') && best.placement.chunks.some((chunk) => chunk.stateHome === 'nvme')) {
    for (const hostStates of [0.8, 0.6]) consider({ hostStates });
    for (const staging of [2, 4, 6]) consider({ staging });
  }
  for (const nudge of [-0.125, 0.125]) {
    const gpuStates = best.split.gpuStates + nudge;
    if (heldByAnything() && gpuStates >= 0 && gpuStates <= 1) consider({ gpuStates });
  }
  // What a reactive scheduler would do is the floor: prefetching that only crowds the links must not win by default.
  for (const split of [best.split, first]) {
    const reactive = run({ ...split, slack: 0, lead: 1 });
    if (reactive !== null && reactive.forecast.stepSeconds < best.forecast.stepSeconds) best = reactive;
  }
  return best;
}

/** Faster, or as fast with fewer bytes over the link. */
function better(a: Trial, b: Trial): boolean {
  const gain = b.forecast.stepSeconds - a.forecast.stepSeconds;
  if (gain > worthwhile * b.forecast.stepSeconds) return true;
  if (gain < 0) return false;
  return gain > 0 && linkBytes(a) <= linkBytes(b);
}

const linkBytes = ({ forecast: { movedBytes } }: Trial): number =>
  movedBytes.toDevice + movedBytes.read + movedBytes.write;

/** Slack worth trying: what one moment needs, and twice and three times that, as far as the pool goes. */
function slackSteps({ pools, chunks }: Placement): number[] {
  const travelling = chunks.filter((chunk) => !chunk.resident).length;
  const spare = Math.min(pools.normal.count, travelling);
  return [1, 2, 4, 8, 16, 32].filter((slack) => slack < spare);
}
