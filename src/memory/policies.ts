import { TierraError } from '../core/errors.ts';
import { assembleReactive } from './assemble.ts';
import type { Plan } from './plan.ts';
import { compileStep } from './planner.ts';
import { attempt, type PlanInput, place, stateProblem } from './problem.ts';
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
 * Plans a step and runs it on the null device beside the two reactive policies. All three have the same GPU
 * memory, state homes and host optimizer: only what stays, what leaves and the time of each fetch differ.
 */
export function comparePolicies(input: PlanInput): PolicyComparison {
  const { plan, placement: chosen, split } = compileStep(input);
  const problem = stateProblem(input);
  // What the plan keeps for good is a decision about eviction: reactive policies get that memory as slots.
  const open = plan.tickets.length === 0 ? chosen : attempt(() => place(problem, { ...split, residents: 0 }));
  const placement = open instanceof TierraError || input.policy?.kind === 'static' ? chosen : open;
  const react = (eviction: Eviction): Simulation =>
    simulate(
      assembleReactive({ ...problem, placement, budgets: input.budgets }, eviction, warmSteps + 1),
      input.machine,
    );
  const planned = simulate(unroll(plan, input.trace, input.layout, warmSteps + 1), input.machine);
  return { plan, planned, belady: react('belady'), lru: react('lru') };
}
