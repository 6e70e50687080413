/** Data parallelism and ZeRO 1 to 3 in real processes: the numbers of one process, wherever each rank's part lives. */
import { describe, expect, it } from 'vitest';
import { gatheredElements, layFlats, shardElements } from '../../src/dist/zero/index.ts';
import { nativeIsBuilt } from '../../src/native/load.ts';
import { runRanks } from './ranks.ts';
import { layoutOfCase, run, type ZeroCase, type ZeroResult } from './scripts/zero.ts';

type Results = Readonly<Record<string, ZeroResult>>;

const stages = [0, 1, 2, 3] as const;
const nameOf = (stage: number): string => (stage === 0 ? 'dp' : `zero ${stage}`);

/** The case under each stage. */
const inStages = (plain: ZeroCase, of: readonly number[] = stages): ZeroCase[] =>
  of.map((zero) => ({
    ...plain,
    name: `${plain.name}, ${nameOf(zero)}`,
    config: { ...plain.config, parallel: { ...plain.config.parallel, zero } },
  }));

/** All ranks' pages together; a page that several hold must be the same on all. */
function pagesOf(ranks: readonly ZeroResult[]): Record<string, Record<string, string>> {
  const all: Record<string, Record<string, string>> = {};
  for (const { pages } of ranks) {
    for (const [name, found] of Object.entries(pages)) {
      all[name] ??= {};
      for (const [at, hash] of Object.entries(found)) {
        expect(all[name][at] ?? hash, `${name} from ${at}`).toBe(hash);
        all[name][at] = hash;
      }
    }
  }
  return all;
}

const named = (all: readonly Results[], name: string): ZeroResult[] => all.map((results) => results[name]!);

/** What must be the same for all stages and placements of one world size, bit for bit. */
function bitsOf(all: readonly Results[], name: string) {
  const [first, ...others] = named(all, name);
  for (const other of others) {
    expect(other.losses).toEqual(first!.losses);
    expect(other.norms).toEqual(first!.norms);
    expect(other.nonFinite).toEqual(first!.nonFinite);
  }
  const { losses, norms, clipped, nonFinite } = first!;
  return { losses, norms, clipped, nonFinite, pages: pagesOf(named(all, name)) };
}

function expectClose(actual: readonly number[], expected: readonly number[], tolerance: number): void {
  expect(actual).toHaveLength(expected.length);
  for (const [index, value] of actual.entries()) {
    expect(Math.abs(value - expected[index]!), `step ${index + 1}`).toBeLessThanOrEqual(tolerance);
  }
}

const alone = (cases: readonly ZeroCase[]): Results => run(null, cases);
const together = (size: number, cases: readonly ZeroCase[]): Promise<Results[]> =>
  runRanks<Results>(size, 'scripts/zero.ts', { input: cases, timeoutSeconds: 300 });

const plain: ZeroCase = { name: 'plain', config: {}, steps: 20, rows: 12 };
const short: ZeroCase = { ...plain, name: 'short', steps: 3 };
const accumulated: ZeroCase = { name: 'accumulated', config: { train: { accumulate: 2 } }, steps: 3, rows: 12 };
const last: ZeroCase = {
  ...accumulated,
  name: 'reduced with the last',
  config: { train: { accumulate: 2 }, parallel: { reduce: 'last' } },
};

describe.skipIf(!nativeIsBuilt())('data parallelism and ZeRO', { timeout: 900_000 }, () => {
  it('are one process that has the whole batch, on 2, 3 and 4 ranks; all stages bit for bit', async () => {
    const { plain: whole, accumulated: sums } = alone([plain, accumulated]);
    for (const size of [2, 3, 4]) {
      // The long course on two ranks; rounding has grown there, if anywhere.
      const course = size === 2 ? plain : { ...plain, steps: 5 };
      const more = size === 2 ? [...inStages(accumulated), ...inStages(last, [0, 1, 3])] : [];
      const all = await together(size, [...inStages(course), ...more]);
      const reference: Results = {
        plain: { ...whole!, losses: whole!.losses.slice(0, course.steps), norms: whole!.norms.slice(0, course.steps) },
        accumulated: sums!,
      };
      for (const { name } of size === 2 ? [plain, accumulated] : [plain]) {
        const first = bitsOf(all, `${name}, dp`);
        expectClose(first.losses, reference[name]!.losses, 1e-12);
        expectClose(first.norms, reference[name]!.norms, 1e-10);
        expect(first.clipped).toBeGreaterThan(0);
        for (const stage of stages) expect(bitsOf(all, `${name}, ${nameOf(stage)}`), `${size} ranks`).toEqual(first);
      }
      if (size !== 2) continue;
      const late = bitsOf(all, `${last.name}, dp`);
      expectClose(late.losses, sums!.losses, 1e-12);
      for (const stage of [1, 3]) expect(bitsOf(all, `${last.name}, ${nameOf(stage)}`)).toEqual(late);
    }
  });

  it('give the bits of one process whose micro-batches are the ranks, dropout and clipping included', async () => {
    // Wide enough that a rank beside the first holds several norm blocks of one parameter.
    for (const precision of ['fp64', 'fp32'] as const) {
      const dropout: ZeroCase = { ...short, name: 'dropout', width: 96, config: { precision } };
      const cut = { ...dropout, cut: 3, config: { precision, train: { accumulate: 3 } } };
      const { dropout: reference } = alone([cut]);
      const all = await together(3, inStages(dropout, [0, 3]));
      for (const stage of [0, 3]) {
        const { norms, pages } = bitsOf(all, `dropout, ${nameOf(stage)}`);
        expect({ norms, pages }).toEqual({ norms: reference!.norms, pages: reference!.pages });
      }
    }
  });

  it('do not depend on where parts live: tight GPU, disk, vertical order', async () => {
    // Each stage in each place, and each of both with and without sums of micro-batches: the hardest, stage 3 on disk, with them.
    const places = [
      { of: short, place: 'tight', at: [2, 3] },
      { of: short, place: 'disk', at: [0, 1] },
      { of: accumulated, place: 'tight', at: [0, 1] },
      { of: accumulated, place: 'disk', at: [2, 3] },
    ] as const;
    const tiers = places.flatMap(({ of, place, at }) =>
      inStages({ ...of, name: `${of.name} ${place}`, tiers: place }, at),
    );
    const vertical: ZeroCase = {
      ...accumulated,
      name: 'accumulated vertical',
      tiers: 'tight',
      config: { train: { accumulate: 2 }, memory: { accumulation: 'vertical' } },
    };
    const given: ZeroCase = { ...short, name: 'given', given: true, config: { precision: 'bf16' } };
    const compressed: ZeroCase = {
      ...given,
      name: 'compressed',
      config: { precision: 'bf16', optimizer: { states: 'compressed' } },
    };
    const all = await together(2, [
      ...inStages(compressed, [0, 1, 3]),
      ...inStages({ ...compressed, name: 'compressed tight', tiers: 'tight' }, [2]),
      ...inStages(short, [0]),
      ...inStages(accumulated, [0]),
      ...tiers,
      ...inStages(vertical, [1, 3]),
      ...inStages(given, [0, 3]),
      ...inStages({ ...given, name: 'given tight', tiers: 'tight' }, [0, 2]),
    ]);
    for (const { of, place, at } of places) {
      const expected = bitsOf(all, `${of.name}, dp`);
      for (const stage of at) {
        const name = `${of.name} ${place}, ${nameOf(stage)}`;
        expect(bitsOf(all, name), name).toEqual(expected);
        for (const { arenas } of named(all, name)) {
          expect(arenas.host, name).toBeGreaterThan(0);
          expect(arenas.nvme! > 0, name).toBe(place === 'disk');
        }
      }
    }
    const expected = bitsOf(all, `${accumulated.name}, dp`);
    for (const stage of [1, 3]) {
      expect(bitsOf(all, `${vertical.name}, ${nameOf(stage)}`), `vertical ${stage}`).toEqual(expected);
    }
    // Values that bf16 rounds: masters are the values wherever they are.
    const whole = bitsOf(all, 'given, dp');
    for (const name of ['given, zero 3', 'given tight, dp', 'given tight, zero 2'])
      expect(bitsOf(all, name), name).toEqual(whole);
    // Neither do blocks that share a scale: there are many small parameters here, of less than one.
    const blocks = bitsOf(all, 'compressed, dp');
    for (const name of ['compressed, zero 1', 'compressed, zero 3', 'compressed tight, zero 2'])
      expect(bitsOf(all, name), name).toEqual(blocks);
  });

  it('spread copies over groups of ranks: the numbers stay', async () => {
    const copies: ZeroCase = { ...short, name: 'two copies', config: { parallel: { replicate: 2 } } };
    const all = await together(4, [...inStages(short, [3]), ...inStages(copies, [1, 3])]);
    const { losses, norms } = bitsOf(all, 'short, zero 3');
    const first = bitsOf(all, 'two copies, zero 1');
    expectClose(first.losses, losses, 1e-12);
    expectClose(first.norms, norms, 1e-10);
    expect(bitsOf(all, 'two copies, zero 3')).toEqual(first);
  });

  it('agree on steps that are no numbers, and name what nobody used', async () => {
    const bad: ZeroCase = { ...short, name: 'bad', nan: { rank: 1, step: 1 } };
    const halfUsed: ZeroCase = { ...short, name: 'half used', model: 'halfUsed' };
    const all = await together(2, [...inStages(bad), ...inStages(halfUsed, [0, 3])]);
    const first = bitsOf(all, 'bad, dp');
    expect(first.nonFinite).toEqual([null, expect.stringContaining('.'), null]);
    for (const stage of stages) expect(bitsOf(all, `bad, ${nameOf(stage)}`)).toEqual(first);
    expect(bitsOf(all, 'half used, zero 3')).toEqual(bitsOf(all, 'half used, dp'));
    for (const stage of [0, 3]) {
      for (const { notes } of named(all, `half used, ${nameOf(stage)}`)) {
        expect(notes).toEqual([
          expect.stringMatching(/no rank had a gradient for choice\.never\.weight, choice\.never\.bias /),
        ]);
      }
    }
  });

  it('move as many bytes as the formulas say', async () => {
    const [size, micro, elementBytes] = [3, 2, 8];
    const all = await together(size, [...inStages(accumulated), ...inStages(last, [0, 1])]);
    const first = bitsOf(all, 'accumulated, dp');
    for (const stage of stages) expect(bitsOf(all, `accumulated, ${nameOf(stage)}`), 'three ranks').toEqual(first);
    expect(bitsOf(all, `${last.name}, zero 1`)).toEqual(bitsOf(all, `${last.name}, dp`));
    const { units, groupOf, norms } = layoutOfCase(accumulated, size);
    const flats = layFlats(units, groupOf);
    const of = (unit: number) => flats.filter((flat) => flat.units.includes(unit));
    const shardsOf = (unit: number, trainableOnly: boolean): number =>
      of(unit)
        .filter(({ trainable }) => trainable || !trainableOnly)
        .reduce((sum, flat) => sum + shardElements(flat, size), 0);
    const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
    const order = units.map(({ index }) => index);
    // What a step of stage 3 gathers: all units forward, backward all but the last two, which are still there; and so on.
    const turns = (from: readonly number[]): readonly number[] => from.slice(2);
    const forward = order;
    const backward = [...order].reverse();
    const visits = [...forward, ...turns(backward), ...turns(forward), ...turns(backward)];
    const gatherOnce = sum(flats.map((flat) => shardElements(flat, size)));
    const gathers = { 1: gatherOnce, 2: gatherOnce, 3: sum(visits.map((unit) => shardsOf(unit, false))) };
    const reduced = sum(order.map((unit) => shardsOf(unit, true)));
    for (const stage of [1, 2, 3] as const) {
      for (const { counters } of named(all, `accumulated, ${nameOf(stage)}`)) {
        const gathered = (size - 1) * (gathers[stage] + norms);
        expect(counters.allGather!.bytesReceived, `zero ${stage}`).toBe(gathered * elementBytes);
        expect(counters.reduceScatter!.bytesReceived).toBe((size - 1) * reduced * micro * elementBytes);
      }
    }
    for (const { counters } of named(all, `${last.name}, zero 1`)) {
      expect(counters.reduceScatter!.bytesReceived).toBe((size - 1) * reduced * elementBytes);
    }
    const trained = units.flatMap((unit) => unit.parameters.filter((each) => each.trainable));
    const whole = sum(trained.map(({ elements }) => elements));
    expect(sum(named(all, 'accumulated, dp').map(({ counters }) => counters.allReduce!.bytesReceived))).toBe(
      2 * (size - 1) * whole * micro * elementBytes,
    );
    expect(sum(flats.map((flat) => gatheredElements(flat, size)))).toBe(gatherOnce * size);
  });

  it('keep as many bytes as the formulas say', async () => {
    // Large enough that the allocator's blocks are about as large as the tensors in them.
    const wide: ZeroCase = { name: 'wide', config: {}, steps: 1, rows: 3, width: 256 };
    const size = 3;
    const all = await together(size, inStages(wide));
    const { units, groupOf, parameters } = layoutOfCase(wide, size);
    const flats = layFlats(units, groupOf);
    const elements = (of: readonly { readonly elements: number }[]): number =>
      of.reduce((sum, each) => sum + each.elements, 0);
    const shards = flats.map((flat) => ({ elements: shardElements(flat, size), trainable: flat.trainable }));
    // fp64: a weight, which is its own master, and two moments; gradients are gone between steps.
    const kept = (of: readonly { readonly elements: number; readonly trainable: boolean }[]): number =>
      8 * (elements(of) + 2 * elements(of.filter(({ trainable }) => trainable)));
    expect(kept(shards)).toBeLessThan(0.36 * kept(parameters));
    for (const stage of stages) {
      for (const { allocated } of named(all, `wide, ${nameOf(stage)}`)) {
        const ratio = (allocated.after - allocated.before) / kept(stage === 0 ? parameters : shards);
        expect(Math.abs(ratio - 1), nameOf(stage)).toBeLessThan(0.05);
      }
    }
  });
});
