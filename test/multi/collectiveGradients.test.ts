/** The collectives' gradients, across processes. */
import { describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { runRanks } from './ranks.ts';

describe.skipIf(!nativeIsBuilt())('collectives with gradients', () => {
  it('give what moving one element does to the loss of all ranks, by the dual collective', async () => {
    type Report = Record<string, { apart: number; backward: string[] }>;
    const reports = await runRanks<Report>(3, 'scripts/collectiveGradients.ts');
    for (const [rank, report] of reports.entries()) {
      for (const [name, { apart }] of Object.entries(report))
        expect(apart, `rank ${rank}: ${name}`).toBeLessThan(1e-12);
    }
    expect(
      Object.entries(reports[0]!).map(([name, { backward }]) => `${name}: ${backward.join(', ') || 'nothing'}`),
    ).toEqual([
      'copy: allReduce',
      'reduce: nothing',
      'sum: allReduce',
      'gather, used differently: reduceScatter',
      'gather, used alike: nothing',
      'scatter: allGather',
      'reduceScatter: allGather',
      'allToAll: allToAll',
      'rows: allToAll',
      'shift: send, receive',
      'shift back: send, receive',
    ]);
  });
});
