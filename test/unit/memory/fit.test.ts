import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isTierraError } from '../../../src/core/errors.ts';
import { GiB, parseBytes } from '../../../src/core/units.ts';
import {
  describeMachine,
  estimateTrace,
  fits,
  forecastPlan,
  largestThat,
  layOut,
  planStep,
  smallestChange,
} from '../../../src/memory/index.ts';
import { problems } from './arbitraries.ts';
import { llama8b, llamaParameters } from './models.ts';

describe('what would fit', () => {
  it('names a change that is enough, and in the error too', () => {
    let refused = 0;
    fc.assert(
      fc.property(problems, (input) => {
        if (fits(input)) return;
        refused++;
        const changes = smallestChange(input);
        const budgets = { ...input.budgets };
        for (const { tier, toBytes } of changes) budgets[tier] = toBytes;
        expect(changes.length).toBeGreaterThan(0);
        expect(() => planStep({ ...input, budgets })).not.toThrow();
        try {
          planStep(input);
          expect.unreachable();
        } catch (error) {
          if (!isTierraError(error, 'E_PLAN')) throw error;
          expect(error.hint).toMatch(/^The smallest change that makes it fit: raise memory\.(gpu|cpu|nvme\.size) to /);
          const typed = [...error.hint!.matchAll(/([\d.]+ \w+) \(now ([\d.]+ \w+)\)/g)];
          expect(typed.length).toBe(changes.length);
          for (const [index, [, wanted, now]] of typed.entries()) {
            expect(wanted).not.toBe(now);
            const bytes = parseBytes(wanted!);
            expect(bytes).toBeGreaterThanOrEqual(changes[index]!.toBytes);
            expect(bytes).toBeLessThanOrEqual(
              Math.max(1.11 * changes[index]!.toBytes, changes[index]!.toBytes + 2 ** 20),
            );
          }
        }
      }),
      { numRuns: 40 },
    );
    expect(refused).toBeGreaterThan(5);
  }, 180_000);

  it('counts on the GPU for states when the other tiers alone are too small', () => {
    const layout = layOut(llamaParameters(llama8b));
    const machine = describeMachine({ gpuMemory: '100GiB', cpuMemory: '32GiB' });
    const step = { mode: 'training', tokens: 2048, recompute: true, nonModelBytes: () => GiB } as const;
    const trace = estimateTrace({ layout, machine, ...step });
    const types = { computeBytes: 2, stateBytes: 4 } as const;
    const withGpu = (gpu: number) => ({ layout, trace, types, machine, budgets: { gpu, host: 32 * GiB, nvme: 0 } });
    // 112 GiB of parameters and states: host memory takes a third of that.
    expect(fits(withGpu(100 * GiB))).toBe(true);
    const { gpu, host } = forecastPlan(planStep(withGpu(100 * GiB)), layout, machine, trace, 2048).tiers;
    expect(gpu.stateBytes).toBeGreaterThan(60 * GiB);
    expect(host.stateBytes).toBeGreaterThan(0);
    // What is short then is named after all of the GPU has been used.
    const [change, ...others] = smallestChange(withGpu(90 * GiB));
    expect(others).toEqual([]);
    expect(change!.toBytes).toBeLessThan(change!.fromBytes + 10 * GiB);
  }, 180_000);

  it('finds the largest size that fits', () => {
    expect(largestThat((layers) => layers * layers <= 1000, 1, 500)).toBe(31);
    expect(largestThat(() => true, 1, 500)).toBe(500);
    expect(largestThat(() => false, 1, 500)).toBeNull();
  });
});
