import { isTierraError, TierraError } from '../core/errors.ts';
import { formatBytes } from '../core/units.ts';
import { assemblePlan, assembleStep } from './assemble.ts';
import type { Layout } from './layout.ts';
import { budgetSetting } from './ledger.ts';
import type { Machine } from './machine.ts';
import { runOnNullDevice } from './nullDevice.ts';
import { placeAllOnGpu, placeOnGpu } from './placeGpu.ts';
import { type HostShares, placeBelowGpu } from './placeHost.ts';
import type { Placement, Split } from './placement.ts';
import { placeStaticOnGpu } from './placeStatic.ts';
import type { Plan } from './plan.ts';
import { unroll } from './program.ts';
import { scheduleOfStep } from './schedule.ts';
import { improve, type Trial } from './search.ts';
import { measure, simulate } from './simulation.ts';
import { modelStep, type StepModel } from './stepModel.ts';
import type { Trace } from './trace.ts';
import { type ElementBytes, type PerTier, tiers } from './types.ts';

/** `auto` searches; `static` does what the fractions say. */
export type PlacementPolicy =
  | { readonly kind: 'auto' }
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
}

/** Steps a candidate runs on the null device; the last one is measured. */
const trialSteps = 2;
/** Steps the winner runs with every slot's contents followed. */
const checkedSteps = 3;

export interface Problem {
  readonly model: StepModel;
  readonly input: PlanInput;
  readonly otherBytes: PerTier;
  readonly arenas: PerTier;
}

/** Validates the input and works out what is left of each budget for chunks. */
export function stateProblem(input: PlanInput): Problem {
  const { layout, trace, types, budgets, reservedBytes = {} } = input;
  const model = modelStep({ layout, trace, types, clipping: input.clipping ?? true });
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

/** A starting point of the search: it is what fits if anything does (with `staging` 1). */
export const cautiousSplit: Split = {
  gpuStates: 0,
  residents: 0,
  slack: 0,
  lead: Number.POSITIVE_INFINITY,
  hostStates: 1,
  undo: 0,
  speculate: 'bottom',
  staging: 1,
};

/** Homes for one split. Throws `E_PLAN` when it does not fit. */
export function place({ model, arenas }: Problem, split: Split, fixed: HostShares | null = null): Placement {
  return placeBelowGpu(model, placeOnGpu(model, arenas.gpu, split), arenas, split, fixed);
}

/**
 * Compiles a traced step into a plan: everything on the GPU if it fits, otherwise the placement and schedule that the
 * null device runs fastest. Deterministic. Throws `E_PLAN`, saying which tier is short by how much, when nothing fits.
 */
export function planStep(input: PlanInput): Plan {
  const problem = stateProblem(input);
  const { model, arenas } = problem;
  const policy = input.policy ?? { kind: 'auto' };
  if (policy.kind === 'static') return planStatic(problem, policy);
  const whole = placeAllOnGpu(model, arenas.gpu);
  if (whole !== null) {
    return finishPlan(problem, runTrial(problem, placeBelowGpu(model, whole, arenas, cautiousSplit), cautiousSplit));
  }
  const best = improve({
    feasible: (split) => attempt(() => place(problem, split)),
    run: (placement, split) => runTrial(problem, placement, split),
  });
  return finishPlan(problem, best);
}

function planStatic(problem: Problem, policy: PlacementPolicy & { readonly kind: 'static' }): Plan {
  const { model, arenas } = problem;
  const gpu = placeStaticOnGpu(model, arenas.gpu, policy);
  const shares = { parameters: policy.hostParameters, states: policy.hostStates };
  const depths = [3, 2, 1].map((staging) => ({ ...cautiousSplit, staging, undo: 1 }));
  const fitting = depths.map(
    (split) => [split, attempt(() => placeBelowGpu(model, gpu, arenas, split, shares))] as const,
  );
  const found = fitting.find(([, placement]) => !(placement instanceof TierraError)) ?? fitting.at(-1)!;
  if (found[1] instanceof TierraError) throw found[1];
  return finishPlan(problem, runTrial(problem, found[1], found[0]));
}

function runTrial(problem: Problem, placement: Placement, split: Split): Trial {
  const { input } = problem;
  const elements = input.layout.chunks.map((chunk) => chunk.elements);
  const { draft } = assembleStep({ ...problem, placement, budgets: input.budgets }, split);
  const schedule = scheduleOfStep(draft, input.trace, elements, trialSteps);
  const forecast = measure(schedule, runOnNullDevice(schedule, input.machine));
  return { split, placement, tickets: draft.tickets.length, forecast };
}

/** The winner becomes a plan, runs once more with every slot's contents followed, and takes its forecast along. */
function finishPlan(problem: Problem, { placement, split }: Trial): Plan {
  const { input } = problem;
  const plan = assemblePlan({ ...problem, placement, budgets: input.budgets }, split, input.policy?.kind ?? 'auto');
  const { stepSeconds, computeSeconds, stallSeconds, movedBytes, busySeconds } = simulate(
    unroll(plan, input.trace, input.layout, checkedSteps),
    input.machine,
  );
  return { ...plan, forecast: { stepSeconds, computeSeconds, stallSeconds, movedBytes, busySeconds } };
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
