/**
 * All axes, ZeRO and tiers on one mesh: one script, the numbers of one process. Processes are dear to start, so one set of four ranks
 * runs every case that four can, and one of eight the rest.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { runRanks } from './ranks.ts';
import { type MeshCase, type MeshResult, type ModelName, run } from './scripts/composed.ts';

type Results = Readonly<Record<string, MeshResult>>;
type Parallel = MeshCase['parallel'];

const folder = mkdtempSync(path.join(tmpdir(), 'tierra-mesh-'));
const steps = 20;
const nothing = { gpuParameters: 0, gpuStates: 0 };
const memories = {
  cpu: { gpu: '8MiB', cpu: '16MiB', policy: 'static', static: nothing },
  disk: {
    ...{ gpu: '8MiB', cpu: '16MiB', nvme: { path: path.join(folder, 'swap'), size: '64MiB' } },
    ...{ policy: 'static', static: { ...nothing, hostParameters: 0, hostStates: 0 } },
  },
} as const satisfies Record<string, MeshCase['memory']>;

const nameOf = (model: string, parallel: Parallel, memory?: string): string =>
  [
    model,
    ...Object.entries(parallel).map(([key, value]) => `${key} ${value}`),
    ...(memory ? [`on ${memory}`] : []),
  ].join(', ');
const mesh = (model: ModelName, parallel: Parallel, memory?: keyof typeof memories): MeshCase => ({
  name: nameOf(model, parallel, memory),
  parallel,
  model,
  steps,
  ...(memory === undefined ? {} : { memory: memories[memory] }),
});

const onFour = [
  // Each mode by itself.
  mesh('gpt', { dp: 4 }),
  mesh('gpt', { tp: 4 }),
  mesh('gpt', { tp: 4, tensor: '2d' }),
  mesh('gpt', { pp: 4 }),
  mesh('gpt', { sp: 4, sequence: 'scores' }),
  mesh('gpt', { sp: 4, sequence: 'heads' }),
  mesh('gpt', { sp: 4, sequence: 'ring' }),
  mesh('mixtral', { ep: 4 }),
  mesh('mixtral', { dp: 4 }),
  // Two axes, ZeRO, tiers.
  mesh('gpt', { dp: 2, tp: 2, zero: 1 }, 'cpu'),
  mesh('gpt', { dp: 2, pp: 2, zero: 3 }),
  mesh('gpt', { dp: 2, pp: 2, zero: 1 }, 'disk'),
  mesh('gpt', { pp: 2, tp: 2 }, 'cpu'),
  mesh('gpt', { dp: 2, sp: 2, zero: 3 }),
  mesh('gpt', { dp: 2, sp: 2, sequence: 'heads', zero: 1 }, 'disk'),
  mesh('gpt', { dp: 2, sp: 2, zero: 2, replicate: 2 }),
  mesh('llama', { tp: 4, tensor: '2d' }, 'disk'),
  mesh('llama', { sp: 2, tp: 2, sequence: 'heads' }),
  mesh('llama', { sp: 2, pp: 2, sequence: 'scores' }),
  mesh('mixtral', { dp: 2, ep: 2, zero: 1 }, 'cpu'),
  mesh('mixtral', { dp: 2, ep: 2, zero: 3 }),
  mesh('mixtral', { ep: 2, tp: 2, zero: 3 }, 'disk'),
  mesh('mixtral', { ep: 2, pp: 2 }),
  mesh('mixtral', { ep: 2, sp: 2, zero: 3 }),
  // The embedding is the head too.
  mesh('tied', { pp: 2, tp: 2 }),
  mesh('tied', { pp: 2, sp: 2 }),
];

/** Ranks with copies drop the same, ranks with heads or tokens of their own drop other things. */
const dropping = [mesh('dropping', { tp: 4 }), mesh('dropping', { sp: 2, tp: 2, sequence: 'heads' })];

/** One step each, from the checkpoint of the one before. */
const legs = [
  ...[{ tp: 2 }, { ep: 2 }, { sp: 2, zero: 3 }, { ep: 4 }, { pp: 2 }, { ep: 2, pp: 2 }, { sp: 2, tp: 2 }, { zero: 3 }],
  ...[{ ep: 2, zero: 3 }, { pp: 2, zero: 1 }, { sp: 4 }, { ep: 2, tp: 2, zero: 2 }, { ep: 2, sp: 2, zero: 1 }],
  ...[{ pp: 2, tp: 2 }, { zero: 0 }, { tp: 2, zero: 3 }],
].map(
  (parallel: Parallel, leg): MeshCase => ({
    ...{ name: `leg ${leg}, ${nameOf('mixtral', parallel)}`, model: 'mixtral', parallel, folder, steps: 1 },
    ...(leg === 0 ? {} : { from: leg }),
  }),
);

/** The same of blocks: there and back, their ranks being other ones of the four each time. */
const blockLegs = [{ tp: 4, tensor: '2d' }, { tp: 2, zero: 1 }, { tp: 4, tensor: '2d' }, { pp: 2 }].map(
  (parallel, leg): MeshCase => ({
    ...{ name: `block leg ${leg}, ${nameOf('gpt', parallel as Parallel)}`, model: 'gpt', steps: 1 },
    ...{ parallel: parallel as Parallel, folder: path.join(folder, 'blocks') },
    ...(leg === 0 ? {} : { from: leg }),
  }),
);

const onEight = [
  mesh('gpt', { dp: 2, pp: 2, tp: 2 }),
  mesh('gpt', { dp: 2, pp: 2, tp: 2, zero: 1 }, 'cpu'),
  mesh('gpt', { sp: 2, pp: 2, tp: 2 }),
  mesh('mixtral', { ep: 2, sp: 2, tp: 2, zero: 3 }),
  // Blocks send many small messages, which eight processes on few cores wait for.
  ...[
    mesh('gpt', { dp: 2, tp: 4, tensor: '2d', zero: 1 }, 'cpu'),
    mesh('llama', { dp: 2, tp: 4, tensor: '2d', zero: 3 }),
    mesh('tied', { pp: 2, tp: 4, tensor: '2d' }),
    mesh('gpt', { sp: 2, tp: 4, tensor: '2d' }),
    mesh('llama', { tp: 8, tensor: '2.5d', depth: 2 }, 'cpu'),
    mesh('gpt', { tp: 8, tensor: '3d' }),
  ].map((each) => ({ ...each, steps: 4 })),
];

/** Layers of squares have copies, and so have norms on cubes. */
const droppingOnEight = [
  mesh('dropping', { tp: 8, tensor: '2.5d', depth: 2 }),
  mesh('dropping', { tp: 8, tensor: '3d' }),
].map((each) => ({ ...each, steps: 2 }));

const together = (size: number, cases: readonly MeshCase[]): Promise<Results[]> =>
  runRanks<Results>(size, 'scripts/composed.ts', { input: cases, timeoutSeconds: 1200 });

const serialOf = async (model: ModelName, count: number): Promise<MeshResult> =>
  (await run(null, [{ name: 'serial', parallel: {}, model, steps: count }])).serial!;

/** Whatever two ranks have, whole or the same part of it, is the same on both: copies stay copies. */
function expectCopies(all: readonly Results[], name: string): void {
  const first: Record<string, string> = {};
  for (const results of all) {
    const { copies } = results[name]!;
    for (const [parameter, hash] of Object.entries(copies)) {
      first[parameter] ??= hash;
      expect(first[parameter], `${name}, ${parameter}`).toBe(hash);
    }
  }
}

function expectEqual(all: readonly Results[], { name, steps }: MeshCase, serial: MeshResult): void {
  expectCopies(all, name);
  for (const results of all) {
    const { losses, norms } = results[name]!;
    expect(losses, name).toHaveLength(steps);
    for (const [step, loss] of losses.entries()) {
      expect(Math.abs(loss - serial.losses[step]!), `${name}, loss of step ${step + 1}`).toBeLessThan(1e-9);
      expect(Math.abs(norms[step]! - serial.norms[step]!), `${name}, norm of step ${step + 1}`).toBeLessThan(1e-9);
    }
    // Ranks agree to the bit: each of them decides alone whether it clips.
    expect(norms, name).toEqual(all[0]![name]!.norms);
  }
}

describe.skipIf(!nativeIsBuilt())('one mesh', () => {
  const serial = new Map<ModelName, MeshResult>();
  let four: Results[] = [];

  beforeAll(async () => {
    for (const model of ['gpt', 'tied', 'llama', 'mixtral'] as const)
      serial.set(model, await serialOf(model, Math.max(steps, legs.length + 1)));
    four = await together(4, [...onFour, ...dropping, ...legs, ...blockLegs]);
  }, 1_300_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('has something to clip, and trains', () => {
    const all = [...serial.values()];
    expect(all.some(({ clipped }) => clipped > 0)).toBe(true);
    for (const { losses } of all) expect(new Set(losses).size).toBe(losses.length);
  });

  it.each(onFour)('$name', (each) => expectEqual(four, each, serial.get(each.model)!));

  it('keeps parameters and states where the tiers say', () => {
    for (const [tier, ending] of [
      ['host', ' on cpu'],
      ['nvme', ' on disk'],
    ] as const) {
      const names = onFour.map(({ name }) => name).filter((name) => name.endsWith(ending));
      expect(names.length).toBeGreaterThan(1);
      for (const name of names) for (const results of four) expect(results[name]!.used[tier], name).toBeGreaterThan(0);
    }
  });

  it.each(dropping)('$name', ({ name }) => {
    expect(Object.keys(four[0]![name]!.copies).length).toBeGreaterThan(5);
    expectCopies(four, name);
    for (const results of four) expect(results[name]!.norms).toEqual(four[0]![name]!.norms);
  });

  it('writes checkpoints that any other mesh goes on from', async () => {
    const { losses, norms } = serial.get('mixtral')!;
    for (const results of four) {
      for (const [leg, { name }] of legs.entries()) {
        expect(Math.abs(results[name]!.losses[0]! - losses[leg]!), name).toBeLessThan(1e-9);
        expect(Math.abs(results[name]!.norms[0]! - norms[leg]!), name).toBeLessThan(1e-9);
      }
    }
    const alone = await run(null, [{ ...legs[0]!, name: 'alone', parallel: {}, from: legs.length }]);
    expect(Math.abs(alone.alone!.losses[0]! - losses[legs.length]!)).toBeLessThan(1e-9);
  });

  it('writes blocks into checkpoints, and reads them', async () => {
    const { losses, norms } = serial.get('gpt')!;
    for (const results of four) {
      for (const [leg, { name }] of blockLegs.entries()) {
        expect(Math.abs(results[name]!.losses[0]! - losses[leg]!), name).toBeLessThan(1e-9);
        expect(Math.abs(results[name]!.norms[0]! - norms[leg]!), name).toBeLessThan(1e-9);
      }
    }
  });

  it('of three and more axes on eight ranks, and cut in blocks', async () => {
    const all = await together(8, [...onEight, ...droppingOnEight]);
    for (const each of onEight) expectEqual(all, each, serial.get(each.model)!);
    for (const { name } of droppingOnEight) {
      expectCopies(all, name);
      const parts = all.flatMap((results) => Object.keys(results[name]!.copies));
      expect(new Set(parts).size, name).toBeLessThan(parts.length);
      for (const results of all) expect(results[name]!.norms).toEqual(all[0]![name]!.norms);
    }
  }, 1_300_000);
});
