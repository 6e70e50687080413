/** Data, pipeline and tensor parallelism, ZeRO and tiers on one mesh: one script, the numbers of one process. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { runRanks } from './ranks.ts';
import { type MeshCase, type MeshResult, run } from './scripts/composed.ts';

type Results = Readonly<Record<string, MeshResult>>;
type Parallel = MeshCase['parallel'];

const together = (size: number, cases: readonly MeshCase[]): Promise<Results[]> =>
  runRanks<Results>(size, 'scripts/composed.ts', { input: cases, timeoutSeconds: 300 });

const steps = 5;
const tiers = { gpu: '8MiB', cpu: '16MiB', policy: 'auto' } as const;

const nameOf = (parallel: Parallel, memory?: object): string =>
  Object.entries(parallel)
    .map(([key, value]) => `${key} ${value}`)
    .concat(memory === undefined ? [] : ['tiers'])
    .join(', ');
const mesh = (model: MeshCase['model'], parallel: Parallel, memory?: MeshCase['memory']): MeshCase => ({
  ...{ name: nameOf(parallel, memory), parallel, model, steps, ...(memory === undefined ? {} : { memory }) },
});

function expectEqual(all: readonly Results[], name: string, serial: MeshResult): void {
  for (const results of all) {
    const { losses, norms } = results[name]!;
    expect(losses, name).toHaveLength(serial.losses.length);
    for (const [step, loss] of losses.entries()) {
      expect(Math.abs(loss - serial.losses[step]!), `${name}, loss of step ${step + 1}`).toBeLessThan(1e-9);
      expect(Math.abs(norms[step]! - serial.norms[step]!), `${name}, norm of step ${step + 1}`).toBeLessThan(1e-9);
    }
  }
}

const serialOf = async (model: MeshCase['model'], count = steps): Promise<MeshResult> =>
  (await run(null, [{ name: 'serial', parallel: {}, model, steps: count }])).serial!;

describe.skipIf(!nativeIsBuilt())('one mesh', () => {
  it('of two axes and four ranks trains as one process does', async () => {
    const cases = [
      mesh('llama', { tp: 2 }),
      mesh('llama', { tp: 2, zero: 3 }),
      mesh('llama', { tp: 2, zero: 1 }, tiers),
      mesh('llama', { pp: 2 }),
      mesh('llama', { pp: 2, zero: 1 }),
      mesh('llama', { pp: 2, zero: 3 }, tiers),
      mesh('llama', { pp: 2, tp: 2 }),
      mesh('llama', { pp: 2, tp: 2 }, tiers),
    ];
    const serial = await serialOf('llama');
    expect(serial.norms.some((norm) => norm > 1)).toBe(true);
    const all = await together(4, cases);
    for (const { name } of cases) expectEqual(all, name, serial);
    // Ranks agree to the bit: each of them decides alone whether it clips.
    for (const { name } of cases) for (const each of all) expect(each[name]!.norms).toEqual(all[0]![name]!.norms);
  });

  it('with tied weights, over tensor parallelism and a pipeline', async () => {
    const cases = [mesh('gpt2', { tp: 2 }), mesh('gpt2', { pp: 2 }), mesh('gpt2', { pp: 2, tp: 2 })];
    const serial = await serialOf('gpt2');
    const all = await together(4, cases);
    for (const { name } of cases) expectEqual(all, name, serial);
  });

  it('of three axes and eight ranks', async () => {
    const cases = [mesh('llama', { dp: 2, pp: 2, tp: 2 }), mesh('llama', { dp: 2, pp: 2, tp: 2, zero: 1 })];
    const all = await together(8, cases);
    const serial = await serialOf('llama');
    for (const { name } of cases) expectEqual(all, name, serial);
  });

  it('writes checkpoints that any other mesh goes on from', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'tierra-mesh-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const layouts: readonly Parallel[] = [
      ...[
        { tp: 2 },
        { pp: 2, tp: 2 },
        { tp: 2, zero: 3 },
        { pp: 2 },
        { zero: 2 },
        { pp: 2, zero: 1 },
        { tp: 2, zero: 1 },
      ],
      ...[{ pp: 2, zero: 3 }, { pp: 2, tp: 2 }, { zero: 3 }, { tp: 2 }, { zero: 0 }, { pp: 2 }],
    ];
    const legs = layouts.map(
      (parallel, leg): MeshCase => ({
        ...{ name: `leg ${leg}`, model: 'llama', parallel, folder, steps: 1, ...(leg === 0 ? {} : { from: leg }) },
      }),
    );
    const serial = await serialOf('llama', legs.length);
    const all = await together(4, legs);
    for (const results of all) {
      for (const [leg, { name }] of legs.entries()) {
        expect(Math.abs(results[name]!.losses[0]! - serial.losses[leg]!), `${name}`).toBeLessThan(1e-9);
        expect(Math.abs(results[name]!.norms[0]! - serial.norms[leg]!), `${name}`).toBeLessThan(1e-9);
      }
    }
    const alone = await run(null, [{ ...legs[0]!, name: 'alone', parallel: {}, from: legs.length, folder }]);
    const next = await serialOf('llama', legs.length + 1);
    expect(Math.abs(alone.alone!.losses[0]! - next.losses.at(-1)!)).toBeLessThan(1e-9);
  });
});
