/** Expert parallelism on 2 and 4 processes equals all experts on one, also where a rank has no tokens. */
import { describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { capacityOf } from '../../src/nn/index.ts';
import { runRanks } from './ranks.ts';
import type { ExpertsInput, ExpertsResult } from './scripts/experts.ts';

const layouts: readonly [ranks: number, input: ExpertsInput][] = [
  [2, { width: 5, experts: 6, uneven: [7, 0], even: 9 }],
  [4, { width: 4, experts: 4, uneven: [3, 0, 6, 1], even: 8 }],
];

/** Forward and backward: rows to the experts of others and from them; the counts once. */
function droplessElements(
  rank: number,
  ranks: number,
  { width, experts }: ExpertsInput,
  rows: readonly number[],
): number {
  const others = Array.from({ length: ranks }, (_, r) => r).filter((r) => r !== rank);
  const arriving = others.reduce((sum, from) => sum + rows[from * ranks + rank]!, 0);
  const leaving = others.reduce((sum, to) => sum + rows[rank * ranks + to]!, 0);
  return 2 * width * (arriving + leaving) + (experts / ranks) * (ranks - 1);
}

const slotElements = (ranks: number, { width, experts }: ExpertsInput, capacity: number): number =>
  (4 * (ranks - 1) * experts * capacity * width) / ranks;

describe.skipIf(!nativeIsBuilt())('expert parallelism', () => {
  it.each(layouts)('on %i ranks', async (ranks, input) => {
    const all = await runRanks<ExpertsResult>(ranks, 'scripts/experts.ts', { input, timeoutSeconds: 120 });
    for (const [rank, { differences, received, rows, refusal }] of all.entries()) {
      expect(Object.keys(differences)).toHaveLength(5);
      for (const [name, furthest] of Object.entries(differences)) {
        expect(Math.max(...furthest), `rank ${rank}, ${name}`).toBeLessThan(1e-12);
      }
      expect(received['dropless top-2']).toBe(droplessElements(rank, ranks, input, rows));
      expect(received['slots top-1']).toBe(
        slotElements(ranks, input, capacityOf(input.even, 1, input.experts, 0.6, 2)),
      );
      expect(received['slots top-2']).toBe(slotElements(ranks, input, capacityOf(input.even, 2, input.experts, 1)));
      expect(refusal).toBe(`${ranks + 1} experts do not divide over ep = ${ranks} ranks: ${ranks + 1} % ${ranks} = 1`);
    }
  });
});
