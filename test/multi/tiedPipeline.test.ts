/** Weights that the first and the last rank of a pipeline share, on tiers and as shards: the numbers of one process. */
import { describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { runRanks } from './ranks.ts';
import { type MeshCase, type MeshResult, run } from './scripts/composed.ts';

type Results = Readonly<Record<string, MeshResult>>;

const steps = 5;
const tiers = { gpu: '8MiB', cpu: '16MiB', policy: 'static', static: { gpuParameters: 0.3 } } as const;
const deferred = { ...tiers, speculate: 'never' } as const;

const tied = (name: string, parallel: MeshCase['parallel'], memory?: MeshCase['memory']): MeshCase => ({
  ...{ name, parallel, model: 'tied', steps, ...(memory === undefined ? {} : { memory }) },
});

describe.skipIf(!nativeIsBuilt())('tied weights on two ranks of a pipeline', { timeout: 600_000 }, () => {
  it('train as in one process where parts lie on tiers or are divided', async () => {
    const cases = [
      tied('tiers, copies', { pp: 2 }, tiers),
      tied('tiers, cut', { pp: 2, tp: 2 }, deferred),
      tied('zero 1', { pp: 2, zero: 1 }),
      tied('zero 3, tiers', { pp: 2, zero: 3 }, deferred),
      tied('zero 2, reduced last, split backward', {
        ...{ pp: 2, zero: 2, reduce: 'last', pipeline: { schedule: 'zb-h1' } },
      }),
    ];
    const serial = (await run(null, [{ name: 'serial', parallel: {}, model: 'tied', steps }])).serial!;
    const all = await runRanks<Results>(4, 'scripts/composed.ts', { input: cases, timeoutSeconds: 100 });
    for (const { name } of cases) {
      for (const results of all) {
        const { losses, norms } = results[name]!;
        for (const [step, loss] of serial.losses.entries()) {
          expect(Math.abs(losses[step]! - loss), `${name}, loss of step ${step + 1}`).toBeLessThan(1e-9);
          expect(Math.abs(norms[step]! - serial.norms[step]!), `${name}, norm of step ${step + 1}`).toBeLessThan(1e-9);
        }
        // Ranks agree to the bit: each decides alone whether it clips.
        expect(norms, name).toEqual(all[0]![name]!.norms);
      }
    }
  });
});
