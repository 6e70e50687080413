/** examples/04-parallel as it is written, under `tierra run`. */
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { compiled } from '../compiled.ts';
import { run } from './trainProcess.ts';

const root = path.resolve(import.meta.dirname, '../..');

describe.skipIf(!nativeIsBuilt())('examples/04-parallel', () => {
  it('mlp-2d trains on 2 x 2 ranks, which receive what SUMMA says', async () => {
    const { code, stdout, stderr } = await run(root, ['run', '-n', '4', compiled('examples/04-parallel/mlp-2d.ts')]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const losses = Array.from(stdout.matchAll(/step \d {2}loss (\S+)/g), ([, loss]) => Number(loss));
    expect(losses).toHaveLength(5);
    expect(losses[4]).toBeLessThan(losses[0]! / 100);
    // x needs no gradient, so the first layer has two products, the second three; a quarter of both matrices for each.
    const [m, k, n] = [64, 1024, 16_384];
    const products = (2 * (m * k + k * n) + 3 * (m * n + k * n)) / 4;
    const biases = (2 * (n + k)) / 4;
    const loss = 2;
    expect(stdout).toContain(
      `2 x 2 ranks, 0.25 of the parameters each; ${5 * 4 * (products + biases + loss)} bytes received`,
    );
  });
});
