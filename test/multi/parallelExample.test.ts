/** examples/04-parallel and 05-own-parallel-mode as they are written, under `tierra run`. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { compiled } from '../compiled.ts';
import { run } from './trainProcess.ts';

const root = path.resolve(import.meta.dirname, '../..');

const gpt = (name: string, ranks: number): Promise<number[]> =>
  figures(ranks, ['examples/04-parallel/gpt.ts', `examples/04-parallel/configs/${name}.yaml`]);

/** Losses and norms of all steps, as they are printed: to ten digits. */
async function figures(ranks: number, command: readonly string[]): Promise<number[]> {
  const { code, stdout, stderr } = await run(root, ['run', '-n', String(ranks), ...command]);
  expect({ code, stderr }, command.join(' ')).toEqual({ code: 0, stderr: '' });
  return Array.from(stdout.matchAll(/loss (\S+) {2}norm (\S+)/g), ([, ...pair]) => pair.map(Number)).flat();
}

function expectSame(found: readonly number[], serial: readonly number[]): void {
  expect(found).toHaveLength(20);
  for (const [i, figure] of found.entries()) expect(Math.abs(figure - serial[i]!)).toBeLessThan(1e-9);
}

describe.skipIf(!nativeIsBuilt())('examples/04-parallel', () => {
  it('gpt.ts prints the same figures under another configuration', async () => {
    const serial = await gpt('serial', 1);
    expectSame(await gpt('sp-heads', 4), serial);
  });

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

describe.skipIf(!nativeIsBuilt())('examples/05-own-parallel-mode', () => {
  const script = 'examples/05-own-parallel-mode/train.ts';

  it('has the figures of one process under its own layers, rule and schedule', async () => {
    const serial = await figures(1, [script]);
    expectSame(await figures(4, [script, 'pp=2', 'tp=2']), serial);
    expectSame(await figures(4, [script, 'tp=2', 'zero=3']), serial);
  });

  it('imports from the public entrance alone', () => {
    const folder = path.join(root, path.dirname(script));
    for (const file of readdirSync(folder).filter((name) => name.endsWith('.ts'))) {
      const from = Array.from(
        readFileSync(path.join(folder, file), 'utf8').matchAll(/^(?:import|\}).* from '(.*)';$/gm),
        ([, name]) => name,
      );
      for (const name of from) expect(['../../src/index.ts', './eagerSchedule.ts', './tokenLine.ts']).toContain(name);
    }
  });
});
