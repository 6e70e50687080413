import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isTierraError } from '../../../src/core/errors.ts';
import {
  type Plan,
  type PlanInput,
  type Program,
  planStep,
  simulate,
  unroll,
  withoutFollowing,
} from '../../../src/memory/index.ts';
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

/** The order in which lanes take what is ready may be any: only slower. */
function shuffled(program: Program, seed: number): Program {
  let state = seed;
  const next = (): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state;
  };
  return { ...program, tickets: program.tickets.map((ticket) => ({ ...ticket, priority: next() })) };
}

/** Steps that all guess, steps that all wait, and some of both. */
const courses = (seed: number): ((step: number) => boolean)[] => [
  () => true,
  () => false,
  (step) => ((seed >> step) & 1) === 1,
];

const seeds = fc.integer({ min: 1, max: 2_147_483_646 });

describe('planner', () => {
  it('plans any model on any machine without deadlock, overdraft or absent chunks, or says what is short', () => {
    let fitting = 0;
    fc.assert(
      fc.property(problems, seeds, (input, seed) => {
        const plan = planned(input);
        if (plan === null) return;
        fitting++;
        for (const tier of ['gpu', 'host', 'nvme'] as const) {
          expect(plan.arenaBytes[tier] + plan.otherBytes[tier]).toBeLessThanOrEqual(input.budgets[tier]);
        }
        const onGpu = plan.chunks.filter(({ stateHome, update }) => stateHome === 'gpu' || update === 'device');
        if (input.statesOnGpu === false) expect(onGpu).toEqual([]);
        for (const guesses of courses(seed)) {
          const program = unroll(plan, input.trace, input.layout, 5, guesses);
          simulate(program, input.machine);
          simulate(shuffled(program, seed), input.machine);
        }
      }),
      { numRuns: 100 },
    );
    expect(fitting).toBeGreaterThan(25);
  }, 180_000);

  it('previews what undo space is too small for, and never reads or overwrites too early', () => {
    const onHost = { kind: 'static', gpuParameters: 0, gpuStates: 0, hostParameters: 1, hostStates: 1 } as const;
    let previewing = 0;
    fc.assert(
      fc.property(problems, fc.double({ min: 1, max: 1.6, noNaN: true }), seeds, (input, room, seed) => {
        const { computeBytes, stateBytes } = input.types;
        const elements = input.layout.chunks.reduce((sum, chunk) => sum + chunk.elements, 0);
        const host = Math.floor(room * elements * (computeBytes + 3 * stateBytes));
        // So slow that states are only just ready for the next preview.
        const machine = { ...input.machine, hostUpdateParameters: 1e6 };
        const plan = planned({
          ...input,
          types: { computeBytes, stateBytes },
          clipping: true,
          budgets: { ...input.budgets, host },
          machine,
          policy: onHost,
          speculate: 'always',
        });
        if (plan === null) return;
        const previewed = plan.chunks.filter(({ update }) => update === 'previewed');
        if (previewed.length > 0) previewing++;
        for (const { parameter, state } of previewed) {
          expect(parameter.alternate).toBeDefined();
          expect(state!.alternate).toBeUndefined();
        }
        for (const guesses of courses(seed)) {
          const program = unroll(plan, input.trace, input.layout, 5, guesses);
          simulate(program, machine);
          simulate(shuffled(program, seed), machine);
        }
      }),
      { numRuns: 200 },
    );
    expect(previewing).toBeGreaterThan(20);
  }, 180_000);

  it('lets states follow in steps that do not guess only where that is faster', () => {
    const seconds = (plan: Plan, { trace, layout, machine }: PlanInput): number =>
      simulate(
        unroll(plan, trace, layout, 4, () => false),
        machine,
      ).stepSeconds;
    let following = 0;
    fc.assert(
      fc.property(problems, (input) => {
        const plan = planned({ ...input, types: { computeBytes: 2, stateBytes: 4 }, clipping: true });
        if (plan === null || plan.tickets.every(({ unlessGuessed }) => unlessGuessed === undefined)) return;
        expect(seconds(plan, input)).toBeLessThanOrEqual(seconds(withoutFollowing(plan), input) * (1 + 1e-9));
        following++;
      }),
      { numRuns: 150 },
    );
    expect(following).toBeGreaterThan(5);
  }, 180_000);
});
