import { TierraError } from '../core/errors.ts';
import { assembleReactive } from './assemble.ts';
import { placeAllOnGpu } from './placeGpu.ts';
import { placeBelowGpu } from './placeHost.ts';
import type { Placement } from './placement.ts';
import { attempt, cautiousSplit, type PlanInput, type Problem, place, planStep, stateProblem } from './planner.ts';
import { unroll } from './program.ts';
import type { Eviction } from './residency.ts';
import { type Simulation, simulate } from './simulation.ts';

/** How a step's chunks are brought to the GPU. `auto` and `static` compile a plan, `lru` and `belady` react. */
export type PolicyName = 'auto' | 'static' | Eviction;

/** Steps a reactive policy runs before the measured one: its caches are then in their steady course. */
const warmSteps = 3;

/**
 * Runs one step of a policy in its steady state on the null device. `auto` and `static` as `input.policy` says; `lru` and `belady`
 * fetch each chunk when its moment comes and evict the least recently used or the one needed last, with the states in the same
 * homes as the plan's would be without any choice made for speed.
 */
export function simulatePolicy(input: PlanInput, policy: PolicyName, placement?: Placement): Simulation {
  if (policy === 'auto' || policy === 'static') {
    const plan = planStep(input);
    return simulate(unroll(plan, input.trace, input.layout, warmSteps), input.machine);
  }
  const problem = stateProblem(input);
  const homes = placement ?? reactivePlacement(problem);
  const program = assembleReactive({ ...problem, placement: homes, budgets: input.budgets }, policy, warmSteps + 1);
  return simulate(program, input.machine);
}

/** Everything that is not kept for good takes turns in the pool. */
function reactivePlacement(problem: Problem): Placement {
  const { model, arenas } = problem;
  const whole = placeAllOnGpu(model, arenas.gpu);
  if (whole !== null) return placeBelowGpu(model, whole, arenas, cautiousSplit);
  const tries = [3, 2, 1].map((staging) => attempt(() => place(problem, { ...cautiousSplit, staging, undo: 1 })));
  const found = tries.find((placement) => !(placement instanceof TierraError)) ?? tries.at(-1)!;
  if (found instanceof TierraError) throw found;
  return found;
}
