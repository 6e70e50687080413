import { isTierraError, TierraError } from '../core/errors.ts';
import { formatBytes } from '../core/units.ts';
import type { Layout } from './layout.ts';
import { budgetSetting } from './ledger.ts';
import type { Machine } from './machine.ts';
import { placeOnGpu } from './placeGpu.ts';
import { type HostShares, placeBelowGpu } from './placeHost.ts';
import type { Placement, Split } from './placement.ts';
import { modelStep, type StepModel } from './stepModel.ts';
import type { Trace } from './trace.ts';
import { type ElementBytes, type PerTier, tiers } from './types.ts';

/**
 * `auto` searches; `static` does what the fractions say; `lru` is the baseline: frugal homes, every fetch on demand, and the
 * chunk that was used longest ago makes room.
 */
export type PlacementPolicy =
  | { readonly kind: 'auto' | 'lru' }
  | {
      readonly kind: 'static';
      /** Shares of all parameters and of all states that live on the GPU. */
      readonly gpuParameters: number;
      readonly gpuStates: number;
      /** Shares of the remaining ones that live in host memory; the others live on disk. */
      readonly hostParameters: number;
      readonly hostStates: number;
    };

export interface PlanInput {
  readonly layout: Layout;
  readonly trace: Trace;
  readonly types: ElementBytes;
  readonly machine: Machine;
  readonly budgets: PerTier;
  /** Bytes others hold beside chunks and what the trace saw: device context, parked activations, a reserve. */
  readonly reservedBytes?: Partial<PerTier>;
  /** Updates have to wait for a global norm or an overflow check (default true). */
  readonly clipping?: boolean;
  readonly policy?: PlacementPolicy;
  /** False: states stay below the GPU, because nothing there can update them. Default true. */
  readonly statesOnGpu?: boolean;
  /** Update behind backward before the norm is known: as the plan finds best, wherever there is room, or not at all. */
  readonly speculate?: 'auto' | 'always' | 'never';
}

export interface Problem {
  readonly model: StepModel;
  readonly input: PlanInput;
  readonly otherBytes: PerTier;
  readonly arenas: PerTier;
}

/** Validates the input and works out what is left of each budget for chunks. */
export function stateProblem(input: PlanInput): Problem {
  const { layout, trace, types, budgets, reservedBytes = {} } = input;
  const { clipping = true, statesOnGpu = true } = input;
  const model = modelStep({ layout, trace, types, clipping, statesOnGpu });
  const nonModel = trace.moments.reduce((most, moment) => Math.max(most, moment.nonModelBytes), 0);
  const otherBytes = {
    gpu: (reservedBytes.gpu ?? 0) + nonModel,
    host: reservedBytes.host ?? 0,
    nvme: reservedBytes.nvme ?? 0,
  };
  for (const tier of tiers) {
    if (otherBytes[tier] <= budgets[tier]) continue;
    throw new TierraError(
      'E_PLAN',
      `${tier} is short by ${formatBytes(otherBytes[tier] - budgets[tier])} before any chunk is placed: activations, workspace and context need ${formatBytes(otherBytes[tier])} of ${formatBytes(budgets[tier])}`,
      {
        hint: `Raise ${budgetSetting[tier]}, use a smaller micro-batch, or recompute activations.`,
        details: { tier, needBytes: otherBytes[tier], haveBytes: budgets[tier] },
      },
    );
  }
  const left = (tier: keyof PerTier): number => Math.floor((budgets[tier] - otherBytes[tier]) / 4096) * 4096;
  return { model, input, otherBytes, arenas: { gpu: left('gpu'), host: left('host'), nvme: left('nvme') } };
}

/** A starting point of the search: least of everything that has a choice. */
export const cautiousSplit: Split = {
  gpuStates: 0,
  residents: 0,
  slack: 0,
  lead: Number.POSITIVE_INFINITY,
  hostStates: 1,
  undo: 0,
  speculate: 'bottom',
  preview: 0,
  staging: 1,
};

/** Each with no states on the GPU, then with all that it holds: when none of these fits (with `staging` 1), nothing does. */
export const thenWithStates = (splits: readonly Split[]): Split[] =>
  [0, 1].flatMap((gpuStates) => splits.map((split) => ({ ...split, gpuStates })));

/** The first that fits, with its homes. Throws the `E_PLAN` of the last. */
export function firstThatFits(
  splits: readonly Split[],
  feasible: (split: Split) => Placement | TierraError,
): { readonly split: Split; readonly placement: Placement } {
  let failure: TierraError | null = null;
  for (const split of splits) {
    const placement = feasible(split);
    if (!(placement instanceof TierraError)) return { split, placement };
    failure = placement;
  }
  throw failure!;
}

/** Homes for one split. Throws `E_PLAN` when it does not fit. */
export function place({ model, arenas }: Problem, split: Split, fixed: HostShares | null = null): Placement {
  return placeBelowGpu(model, placeOnGpu(model, arenas.gpu, split), arenas, split, fixed);
}

/** The value, or the `E_PLAN` that kept it from being. */
export function attempt<T>(action: () => T): T | TierraError {
  try {
    return action();
  } catch (error) {
    if (isTierraError(error, 'E_PLAN')) return error;
    throw error;
  }
}
