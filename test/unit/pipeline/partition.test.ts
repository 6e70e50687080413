import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { balancedCuts, givenCuts, type StageRange, uniformCuts } from '../../../src/dist/pipeline/partition.ts';

const sizes = (ranges: readonly StageRange[]): number[] => ranges.map(({ first, end }) => end - first);

describe('cutting a model into stages', () => {
  it('uniform: the remainder lies in the middle', () => {
    expect(sizes(uniformCuts(8, 4))).toEqual([2, 2, 2, 2]);
    expect(sizes(uniformCuts(9, 4))).toEqual([2, 3, 2, 2]);
    expect(sizes(uniformCuts(10, 4))).toEqual([2, 3, 3, 2]);
    expect(sizes(uniformCuts(11, 4))).toEqual([3, 3, 3, 2]);
    expect(sizes(uniformCuts(11, 3))).toEqual([4, 4, 3]);
    expect(sizes(uniformCuts(5, 5))).toEqual([1, 1, 1, 1, 1]);
  });

  it('balanced: no other cut has a cheaper dearest stage', () => {
    const input = fc
      .array(fc.integer({ min: 0, max: 50 }), { minLength: 1, maxLength: 9 })
      .chain((costs) => fc.tuple(fc.constant(costs), fc.integer({ min: 1, max: costs.length })));
    fc.assert(
      fc.property(input, ([costs, stages]) => {
        const ranges = balancedCuts(costs, stages);
        expect(ranges).toHaveLength(stages);
        expect(Math.min(...sizes(ranges))).toBeGreaterThan(0);
        expect(ranges.map(({ first }) => first)).toEqual([0, ...ranges.slice(0, -1).map(({ end }) => end)]);
        expect(ranges.at(-1)!.end).toBe(costs.length);
        expect(dearest(costs, ranges)).toBe(bestByTrying(costs, stages));
      }),
    );
  });

  it('balanced: a heavy head gets fewer blocks beside it', () => {
    expect(sizes(balancedCuts([1, 4, 4, 4, 4, 4, 4, 10], 3))).toEqual([4, 3, 1]);
  });

  it('given cuts are taken or refused', () => {
    expect(givenCuts(7, 3, [3, 5])).toEqual([
      { first: 0, end: 3 },
      { first: 3, end: 5 },
      { first: 5, end: 7 },
    ]);
    for (const cuts of [[3], [5, 3], [0, 3], [3, 7], [3, 3], [1.5, 3]]) {
      expect(() => givenCuts(7, 3, cuts)).toThrow('does not cut 7 units into 3 stages');
    }
  });

  it('more stages than units are refused with both numbers', () => {
    expect(() => uniformCuts(3, 4)).toThrow('4 stages, but the model has only 3 units');
    expect(() => balancedCuts([1, 1], 3)).toThrow('3 stages');
  });
});

const dearest = (costs: readonly number[], ranges: readonly StageRange[]): number =>
  Math.max(...ranges.map(({ first, end }) => costs.slice(first, end).reduce((sum, cost) => sum + cost, 0)));

function bestByTrying(costs: readonly number[], stages: number): number {
  const sum = costs.reduce((total, cost) => total + cost, 0);
  if (stages === 1) return sum;
  let best = Number.POSITIVE_INFINITY;
  for (let end = 1; end <= costs.length - (stages - 1); end++) {
    const first = costs.slice(0, end).reduce((total, cost) => total + cost, 0);
    best = Math.min(best, Math.max(first, bestByTrying(costs.slice(end), stages - 1)));
  }
  return best;
}
