import { assembleReactive } from './assemble.ts';
import type { Plan } from './plan.ts';
import { compileStep } from './planner.ts';
import { type PlanInput, stateProblem } from './problem.ts';
import { unroll } from './program.ts';
import type { Eviction } from './residency.ts';
import { type Simulation, simulate } from './simulation.ts';

/** How chunks come to the GPU. `auto` and `static` follow a compiled plan, `lru` and `belady` react. */
export type PolicyName = 'auto' | 'static' | Eviction;

/** Steps before the measured one: every policy is then in its steady course. */
const warmSteps = 3;

export interface PolicyComparison {
  readonly plan: Plan;
  readonly planned: Simulation;
  /** Furthest next use leaves; each chunk is fetched when its moment has come. */
  readonly belady: Simulation;
  /** The same, but the least recently used leaves. */
  readonly lru: Simulation;
}

/**
 * Plans a step and runs it on the null device beside the two reactive policies. All three have the same homes, the same GPU
 * slots and the same host optimizer: only eviction and the time of each fetch differ.
 */
export function comparePolicies(input: PlanInput): PolicyComparison {
  const { plan, placement } = compileStep(input);
  const problem = stateProblem(input);
  const react = (eviction: Eviction): Simulation =>
    simulate(
      assembleReactive({ ...problem, placement, budgets: input.budgets }, eviction, warmSteps + 1),
      input.machine,
    );
  const planned = simulate(unroll(plan, input.trace, input.layout, warmSteps + 1), input.machine);
  return { plan, planned, belady: react('belady'), lru: react('lru') };
}
