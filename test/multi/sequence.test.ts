/** Sequence parallelism on 2 to 4 processes equals the whole sequence on one, and receives what its formulas say. */
import { describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { runRanks } from './ranks.ts';
import type { SequenceInput, SequenceResult } from './scripts/sequence.ts';

/** Forward and backward of one attention: whole tensors of queries and of keys have Mh and Mh · kv/heads elements. */
function formula(mode: string, ranks: number, { heads, kvHeads, length, size, batch }: SequenceInput): number {
  const perHead = batch * length * ranks * size;
  if (mode.startsWith('heads')) {
    const sentKeys = Math.max(kvHeads, ranks);
    return (4 * (ranks - 1) * perHead * (heads + sentKeys)) / ranks ** 2;
  }
  return (6 * (ranks - 1) * perHead * kvHeads) / ranks;
}

const layouts: readonly [ranks: number, input: SequenceInput][] = [
  [2, { heads: 4, kvHeads: 2, length: 6, size: 3, batch: 2 }],
  [3, { heads: 6, kvHeads: 3, length: 4, size: 5, batch: 1 }],
  [4, { heads: 4, kvHeads: 2, length: 6, size: 3, batch: 1 }],
];

describe.skipIf(!nativeIsBuilt())('sequence parallelism', () => {
  it.each(layouts)('on %i ranks', async (ranks, input) => {
    const all = await runRanks<SequenceResult>(ranks, 'scripts/sequence.ts', { input, timeoutSeconds: 120 });
    for (const [rank, result] of all.entries()) {
      expect(Object.keys(result.attention)).toHaveLength(12);
      for (const [name, differences] of Object.entries(result.attention)) {
        const wanted = name.endsWith('alibi') ? 1e-6 : 1e-12; // attention() makes ALiBi's biases in fp32
        for (const difference of differences) expect(difference, `rank ${rank}, ${name}`).toBeLessThan(wanted);
        expect(result.received[name], `rank ${rank}, ${name}`).toBe(formula(name, ranks, input));
      }
      expect(Object.keys(result.models)).toHaveLength(6);
      for (const [name, differences] of Object.entries(result.models)) {
        for (const difference of differences) expect(difference, `rank ${rank}, ${name}`).toBeLessThan(1e-11);
      }
    }
    if (ranks === 2)
      expect(all[1]!.refusals).toMatchInlineSnapshot(`
      {
        "dropout": "sequence parallelism by "ring" has no dropout of attention weights",
        "heads": "sequence parallelism by "heads" over 2 ranks needs heads % sp = 0 and kv heads % sp = 0 or sp % kv heads = 0: 3 % 2 = 1, 3 % 2 = 1, 2 % 3 = 2",
        "length": "a sequence of 5 tokens does not divide into 4 runs: 5 % 4 = 1",
      }
    `);
  });
});
