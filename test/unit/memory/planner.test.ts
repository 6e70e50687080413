import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isTierraError } from '../../../src/core/errors.ts';
import { type Plan, type PlanInput, planStep, simulate, unroll } from '../../../src/memory/index.ts';
import { problems } from './arbitraries.ts';

/** The plan, or null when nothing fits and the planner says so. */
function planned(input: PlanInput): Plan | null {
  try {
    return planStep(input);
  } catch (error) {
    if (!isTierraError(error, 'E_PLAN') || !/is short by/.test(error.message)) throw error;
    expect(error.details.needBytes).toBeGreaterThan(error.details.haveBytes as number);
    return null;
  }
}

describe('planner', () => {
  it('plans any model on any machine without deadlock, overdraft or absent chunks, or says what is short', () => {
    let fitting = 0;
    fc.assert(
      fc.property(problems, (input) => {
        const plan = planned(input);
        if (plan === null) return;
        fitting++;
        for (const tier of ['gpu', 'host', 'nvme'] as const) {
          expect(plan.arenaBytes[tier] + plan.otherBytes[tier]).toBeLessThanOrEqual(input.budgets[tier]);
        }
        const onGpu = plan.chunks.filter(({ stateHome, update }) => stateHome === 'gpu' || update === 'device');
        if (input.statesOnGpu === false) expect(onGpu).toEqual([]);
        simulate(unroll(plan, input.trace, input.layout, 5), input.machine);
      }),
      { numRuns: 100 },
    );
    expect(fitting).toBeGreaterThan(25);
  }, 180_000);
});
