import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isTierraError } from '../../../src/core/errors.ts';
import { beladyPolicy, comparePolicies, lruPolicy, nextUseOf } from '../../../src/memory/index.ts';
import { schedulePool } from '../../../src/memory/slotPool.ts';
import { problems } from './arbitraries.ts';

/** Random traces: each moment needs up to three of a dozen chunks. */
const traces = fc.record({
  needs: fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 11 }), { minLength: 1, maxLength: 3 }), {
    minLength: 1,
    maxLength: 80,
  }),
  slotCount: fc.integer({ min: 3, max: 12 }),
});

function fetches(
  needs: readonly (readonly number[])[],
  slotCount: number,
  eviction: 'belady' | 'lru',
  slack = 0,
): number {
  const uses = Array.from({ length: 12 }, (_, chunk) =>
    needs.flatMap((need, moment) => (need.includes(chunk) ? [moment] : [])),
  );
  const demands = needs.map((need) => ({ need, gradients: [], takeovers: [], expires: [] }));
  const nextUse = nextUseOf(uses);
  const policy = eviction === 'lru' ? lruPolicy(12) : beladyPolicy(nextUse);
  return schedulePool(demands, { slotCount, policy, nextUse, slack }).leases.length;
}

describe('eviction', () => {
  it('by furthest next use never fetches more than by least recent use, and never less than needed', () => {
    fc.assert(
      fc.property(traces, ({ needs, slotCount }) => {
        const belady = fetches(needs, slotCount, 'belady');
        expect(belady).toBeLessThanOrEqual(fetches(needs, slotCount, 'lru'));
        expect(belady).toBeGreaterThanOrEqual(new Set(needs.flat()).size);
        expect(fetches(needs, slotCount, 'belady', 1)).toBeGreaterThanOrEqual(belady);
      }),
      { numRuns: 200 },
    );
  });

  it('on a cyclic scan fetches nearly everything by recency and only what cannot stay by next use', () => {
    const scan = Array.from({ length: 100 }, (_, moment) => [moment % 10]);
    // Towards the end chunks without a next use leave by themselves, which spares LRU its last evictions.
    expect(fetches(scan, 8, 'lru')).toBeGreaterThanOrEqual(90);
    expect(fetches(scan, 8, 'belady')).toBeLessThanOrEqual(32);
  });
});

describe('planned against reactive', () => {
  it('never waits longer than Belady on demand without a disk, and moves at most 5% more', () => {
    let compared = 0;
    fc.assert(
      fc.property(problems, (input) => {
        const budgets = { ...input.budgets, nvme: 0 };
        try {
          const { plan, planned, belady } = comparePolicies({ ...input, budgets });
          if (plan.tickets.length === 0 || input.trace.mode === 'forward') return;
          compared++;
          expect(planned.stepSeconds).toBeLessThanOrEqual(belady.stepSeconds * (1 + 1e-6));
          expect(planned.movedBytes.toDevice).toBeLessThanOrEqual(belady.movedBytes.toDevice * 1.05);
        } catch (error) {
          if (!isTierraError(error, 'E_PLAN')) throw error;
        }
      }),
      { numRuns: 80, seed: 20_261_122 },
    );
    expect(compared).toBeGreaterThan(10);
  }, 180_000);
});
