import { TierraError } from '../core/errors.ts';
import { formatBytes, GiB, KiB } from '../core/units.ts';
import { budgetSetting } from './ledger.ts';
import { placeAllOnGpu } from './placeGpu.ts';
import { placeBelowGpu } from './placeHost.ts';
import {
  attempt,
  cautiousSplit,
  firstThatFits,
  type PlanInput,
  place,
  stateProblem,
  thenWithStates,
} from './problem.ts';
import { type PerTier, type Tier, tiers } from './types.ts';

/** Larger than any tier; still exact. */
const plenty = 2 ** 50;

/** True when some placement fits the budgets. Places, but schedules nothing: milliseconds. */
export function fits(input: PlanInput): boolean {
  const found = attempt(() => {
    const problem = stateProblem(input);
    const whole = placeAllOnGpu(problem.model, problem.arenas.gpu);
    if (whole !== null) return placeBelowGpu(problem.model, whole, problem.arenas, cautiousSplit);
    return firstThatFits(thenWithStates([cautiousSplit]), (split) => attempt(() => place(problem, split))).placement;
  });
  return !(found instanceof TierraError);
}

/** The least whole number in (low, high] for which `fits` holds, given that it holds for `high` and not for `low`. */
export function leastThat(fitsAt: (value: number) => boolean, low: number, high: number): number {
  while (high - low > 1) {
    const middle = low + Math.floor((high - low) / 2);
    if (fitsAt(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/** The largest whole number in [low, high] for which `fitsAt` holds, or null. Meant for model sizes: layers, width, parameters. */
export function largestThat(fitsAt: (value: number) => boolean, low: number, high: number): number | null {
  if (!fitsAt(low)) return null;
  if (fitsAt(high)) return high;
  return leastThat((value) => !fitsAt(value), low, high) - 1;
}

export interface BudgetChange {
  readonly tier: Tier;
  readonly fromBytes: number;
  readonly toBytes: number;
}

/**
 * The budgets that would have to grow for a model that does not fit: if raising one tier alone is enough, the one that has to grow
 * least; otherwise several. Whole MiB beyond a GiB, whole KiB below.
 */
export function smallestChange(input: PlanInput): readonly BudgetChange[] {
  const withBudget = (budgets: PerTier, tier: Tier, bytes: number): PlanInput => ({
    ...input,
    budgets: { ...budgets, [tier]: bytes },
  });
  const raise = (budgets: PerTier, tier: Tier): BudgetChange | null => {
    const fromBytes = budgets[tier];
    if (!fits(withBudget(budgets, tier, plenty))) return null;
    const grain = fromBytes >= GiB ? KiB * KiB : KiB;
    const at = (grains: number): boolean => fits(withBudget(budgets, tier, grains * grain));
    return {
      tier,
      fromBytes,
      toBytes: leastThat(at, Math.floor(fromBytes / grain), Math.ceil(plenty / grain)) * grain,
    };
  };
  const single = tiers.map((tier) => raise(input.budgets, tier)).filter((change) => change !== null);
  if (single.length > 0) {
    return [single.reduce((least, change) => (growth(change) < growth(least) ? change : least))];
  }
  const changes: BudgetChange[] = [];
  let budgets: PerTier = { ...input.budgets, host: plenty, nvme: plenty };
  for (const tier of tiers) {
    budgets = { ...budgets, [tier]: input.budgets[tier] };
    if (fits({ ...input, budgets })) continue;
    const change = raise(budgets, tier);
    if (change === null) return [];
    changes.push(change);
    budgets = { ...budgets, [tier]: change.toBytes };
  }
  return changes;
}

const growth = ({ fromBytes, toBytes }: BudgetChange): number => toBytes - fromBytes;

/** In words that are enough when they are typed into a configuration, and differ from what is there now. */
function wished({ fromBytes, toBytes }: BudgetChange): string {
  const now = formatBytes(fromBytes);
  const unit = toBytes >= GiB ? GiB : KiB * KiB;
  const grains = toBytes >= 100 * unit ? 1 : 10;
  const roundedUp = formatBytes((Math.ceil((grains * toBytes) / unit) * unit) / grains);
  if (toBytes >= KiB * KiB && roundedUp !== now) return `${roundedUp} (now ${now})`;
  const [name, grain] = fromBytes >= KiB * KiB ? ['MiB', KiB * KiB] : ['KiB', KiB];
  return `${Math.ceil(toBytes / grain)} ${name} (now ${now})`;
}

/** The same error with the smallest change as its hint. */
export function withSmallestChange(error: TierraError, input: PlanInput): TierraError {
  if (fits(input)) {
    return new TierraError('E_PLAN', error.message, {
      hint: 'memory.policy: auto fits these budgets; these fractions do not.',
      details: error.details,
      cause: error,
    });
  }
  const changes = smallestChange(input);
  if (changes.length === 0) return error;
  const wishes = changes.map((change) => `${budgetSetting[change.tier]} to ${wished(change)}`);
  return new TierraError('E_PLAN', error.message, {
    hint: `The smallest change that makes it fit: raise ${wishes.join(' and ')}.`,
    details: { ...error.details, changes },
    cause: error,
  });
}
