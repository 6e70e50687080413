import { isTierraError } from '../core/errors.ts';
import { assemblePlan, assembleStep } from './assemble.ts';
import { withSmallestChange } from './fit.ts';
import { guessingCourse, withoutFollowing } from './guessed.ts';
import { runOnNullDevice } from './nullDevice.ts';
import { placeAllOnGpu } from './placeGpu.ts';
import { placeBelowGpu } from './placeHost.ts';
import type { Placement, Split } from './placement.ts';
import { placeStaticOnGpu } from './placeStatic.ts';
import type { Plan } from './plan.ts';
import {
  attempt,
  cautiousSplit,
  firstThatFits,
  type PlacementPolicy,
  type PlanInput,
  type Problem,
  place,
  stateProblem,
  thenWithStates,
} from './problem.ts';
import { unroll } from './program.ts';
import type { Eviction } from './residency.ts';
import { scheduleOfProgram, scheduleOfStep } from './schedule.ts';
import { improve, type Trial } from './search.ts';
import { measure, simulate } from './simulation.ts';

/** Shares of the undo space that each setting of `memory.speculate` allows. */
const undoShares = { auto: [1, 0.5, 0], always: [1], never: [0] } as const;
/** Shares of what waits for the norm that may be previewed instead. */
const previewShares = { auto: [0.25, 0.5, 0.75, 1], always: [1], never: [] } as const;
/** Steps a candidate runs on the null device; the last one is measured. */
const trialSteps = 2;
/** With the disk in play, or states that follow their parameters, a step reaches its steady course later. */
const longTrialSteps = 4;
/** Steps the winner runs with every slot's contents followed. */
const checkedSteps = 4;

/**
 * Compiles a traced step into a plan: everything on the GPU if it fits, otherwise the placement and schedule that the
 * null device runs fastest. Deterministic. Throws `E_PLAN`, saying which tier is short by how much, when nothing fits.
 */
export function planStep(input: PlanInput): Plan {
  return compileStep(input).plan;
}

/** A plan and the placement behind it. */
export interface Compiled {
  readonly plan: Plan;
  readonly placement: Placement;
  readonly split: Split;
}

export function compileStep(input: PlanInput): Compiled {
  try {
    return compile(input);
  } catch (error) {
    throw isTierraError(error, 'E_PLAN') ? withSmallestChange(error, input) : error;
  }
}

function compile(input: PlanInput): Compiled {
  const problem = stateProblem(input);
  const { model, arenas } = problem;
  const policy = input.policy ?? { kind: 'auto' };
  if (policy.kind === 'static') return planStatic(problem, policy);
  if (policy.kind === 'lru') return planOnDemand(problem);
  const whole = placeAllOnGpu(model, arenas.gpu);
  if (whole !== null) {
    return finishPlan(problem, runTrial(problem, placeBelowGpu(model, whole, arenas, cautiousSplit), cautiousSplit));
  }
  const best = improve({
    undos: undoShares[input.speculate ?? 'auto'],
    previews: previewShares[input.speculate ?? 'auto'],
    feasible: (split) => attempt(() => place(problem, split)),
    run: (placement, split) => runTrial(problem, placement, split),
  });
  return finishPlan(problem, best);
}

/** The baseline: what the cautious split leaves of the GPU is a cache. */
function planOnDemand(problem: Problem): Compiled {
  const depths = [2, 1].map((staging) => ({ ...cautiousSplit, staging, lead: 1 }));
  const found = firstThatFits(thenWithStates(depths), (split) => attempt(() => place(problem, split)));
  return finishPlan(problem, found, 'lru');
}

function planStatic(problem: Problem, policy: PlacementPolicy & { readonly kind: 'static' }): Compiled {
  const { model, arenas } = problem;
  const gpu = placeStaticOnGpu(model, arenas.gpu, policy);
  const shares = { parameters: policy.hostParameters, states: policy.hostStates };
  const depths = [3, 2, 1].map((staging) => ({
    ...cautiousSplit,
    staging,
    undo: undoShares[problem.input.speculate ?? 'auto'][0],
    preview: problem.input.speculate === 'always' ? 1 : 0,
  }));
  const found = firstThatFits(depths, (split) => attempt(() => placeBelowGpu(model, gpu, arenas, split, shares)));
  return finishPlan(problem, runTrial(problem, found.placement, found.split));
}

function runTrial(problem: Problem, placement: Placement, split: Split): Trial {
  const { input } = problem;
  const elements = input.layout.chunks.map((chunk) => chunk.elements);
  const { draft } = assembleStep({ ...problem, placement, budgets: input.budgets }, split);
  const lasts = placement.bytes.nvme > 0 || placement.chunks.some(({ update }) => update === 'previewed');
  const steps = lasts ? longTrialSteps : trialSteps;
  const schedule = scheduleOfStep(guessingCourse(draft), input.trace, elements, steps);
  const forecast = measure(schedule, runOnNullDevice(schedule, input.machine));
  return { split, placement, cost: (draft.tickets.length * (2 + steps)) / 4, forecast };
}

/**
 * In steps that do not guess, states follow their parameters if such steps are then over earlier: it takes more work. A static plan is not
 * weighed.
 */
function withFasterWaiting({ input }: Problem, plan: Plan): Plan {
  if (input.policy?.kind === 'static' || plan.tickets.every(({ unlessGuessed }) => unlessGuessed === undefined))
    return plan;
  const seconds = (candidate: Plan): number => {
    const schedule = scheduleOfProgram(unroll(candidate, input.trace, input.layout, longTrialSteps, () => false));
    return measure(schedule, runOnNullDevice(schedule, input.machine)).stepSeconds;
  };
  const plain = withoutFollowing(plan);
  return seconds(plan) < seconds(plain) ? plan : plain;
}

/** The winner becomes a plan, runs once more with every slot's contents followed, and takes its forecast along. */
function finishPlan(
  problem: Problem,
  { placement, split }: Pick<Trial, 'placement' | 'split'>,
  eviction: Eviction = 'belady',
): Compiled {
  const { input } = problem;
  const assembly = { ...problem, placement, budgets: input.budgets };
  const plan = withFasterWaiting(problem, assemblePlan(assembly, split, input.policy?.kind ?? 'auto', eviction));
  const { stepSeconds, computeSeconds, stallSeconds, movedBytes, busySeconds } = simulate(
    unroll(plan, input.trace, input.layout, checkedSteps),
    input.machine,
  );
  const forecast = { stepSeconds, computeSeconds, stallSeconds, movedBytes, busySeconds };
  return { plan: { ...plan, forecast }, placement, split };
}
