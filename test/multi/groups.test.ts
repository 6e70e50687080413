/** Collectives between real processes over Gloo, in both modes of summing. */
import { describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { runRanks } from './ranks.ts';
import type { Arrived } from './scripts/collectives.ts';

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const own = (rank: number): number[] => [1, 2, 3, 4, 5].map((value) => value + 10 * rank);
const columns = (size: number, combine: (values: number[]) => number): number[] =>
  range(5).map((i) => combine(range(size).map((rank) => own(rank)[i]!)));
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

function expected(rank: number, size: number): Record<string, number[]> {
  const values: Record<string, number[]> = {
    'allReduce sum': columns(size, sum),
    'allReduce max': columns(size, (all) => Math.max(...all)),
    'allReduce min': columns(size, (all) => Math.min(...all)),
    allGather: range(size).flatMap(own),
    reduceScatter: range(2).map((i) => sum(range(size).map((r) => 2 * rank + i + 10 * r))),
    allToAll: range(size).flatMap((r) => range(2).map((i) => 2 * rank + i + 10 * r)),
    uneven: range(size).flatMap((r) => Array.from({ length: 2 * rank }, () => 10 * r + rank)),
    ring: [...own((rank + size - 1) % size), (rank + size - 1) % size],
  };
  for (const root of range(size)) values[`broadcast ${root}`] = own(root);
  values[`reduce ${rank}`] = columns(size, sum);
  return values;
}

/** By the definitions in `CollectiveCounter`, written out again. */
function expectedElements(rank: number, size: number): Record<string, [number, number]> {
  const part = Math.floor(5 / size) + (rank < 5 % size ? 1 : 0);
  return {
    allReduce: [3, 3 * ((size - 1) * part + 5 - part)],
    allGather: [1, 5 * (size - 1)],
    reduceScatter: [1, 2 * (size - 1)],
    broadcast: [size, 5 * (size - 1)],
    reduce: [size, 5 * (size - 1)],
    allToAll: [2, 2 * (size - 1) + 2 * rank * (size - 1)],
    send: [2, 0],
    receive: [2, 6],
    barrier: [1, 0],
  };
}

const bytesOf: Readonly<Record<string, number>> = { float32: 4, float64: 8, bfloat16: 2, float16: 2, int64: 8 };

describe.skipIf(!nativeIsBuilt())('collectives', () => {
  for (const deterministic of [true, false]) {
    it(`arrive and are counted on 2 and 3 ranks, deterministic ${deterministic}`, async () => {
      for (const size of [2, 3]) {
        const all = await runRanks<Arrived>(size, 'scripts/collectives.ts', { deterministic });
        for (const [rank, { values, counts, refusals }] of all.entries()) {
          for (const [dtype, got] of Object.entries(values)) {
            expect(got, `rank ${rank} of ${size}, ${dtype}`).toEqual(expected(rank, size));
            const counted = Object.entries(expectedElements(rank, size)).map(([name, [calls, elements]]) => [
              name,
              [calls, elements, elements * bytesOf[dtype]!],
            ]);
            expect(counts[dtype], `rank ${rank} of ${size}, ${dtype}`).toEqual(Object.fromEntries(counted));
          }
          if (size === 2 && rank === 1) {
            expect(refusals).toMatchInlineSnapshot(`
              {
                "itself": "send in group "all" on rank 1 (position 1 of 2): a rank cannot send to itself",
                "not contiguous": "allReduce in group "all" on rank 1 (position 1 of 2): the tensor of shape [6, 4] is not contiguous",
                "root": "broadcast in group "all" on rank 1 (position 1 of 2): the root is position 2, the group has 2",
                "sizes": "allGather in group "all" on rank 1 (position 1 of 2): into [3] must hold 2 times from [5] and be of its element type",
                "splits": "allToAll in group "all" on rank 1 (position 1 of 2): intoSplits does not split 4 rows over 2 positions",
                "types": "reduceScatter in group "all" on rank 1 (position 1 of 2): from [2] must hold 2 times into [1] and be of its element type",
              }
            `);
          }
        }
      }
    });
  }

  it('add up in rank order, half precision in fp32, also in place', async () => {
    const all = await runRanks<Record<string, number[]>>(3, 'scripts/order.ts', { deterministic: true });
    for (const [rank, got] of all.entries()) {
      expect(got).toEqual({
        allReduce: Array(7).fill(0),
        reduceScatter: [0, 0],
        reduce: rank === 1 ? Array(7).fill(0) : [],
        half: [258],
        inPlace: [6 * 2 * rank, 6 * (2 * rank + 1)],
      });
    }
  });
});
