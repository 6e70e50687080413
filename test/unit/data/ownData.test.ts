import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DataPosition, type DataSource, fromIndexable, fromIterable } from '../../../src/data/index.ts';

const items = Array.from({ length: 10 }, (_, index) => ({ input: index, label: index * index }));

async function take<T>(source: DataSource<T>, count: number): Promise<T[]> {
  const taken: T[] = [];
  for (let index = 0; index < count; index++) taken.push(await source.next());
  return taken;
}

const json = (position: DataPosition): DataPosition => JSON.parse(JSON.stringify(position));

async function* generate(epoch: number): AsyncGenerator<string> {
  for (let index = 0; index < 4; index++) yield `epoch ${epoch} item ${index}`;
}

describe('fromIndexable', () => {
  test('gives every item once per epoch, in another order each time, from an array or an object with get', async () => {
    const lazy = { length: 10, get: async (index: number) => items[index]! };
    const [fromArray, fromObject] = [fromIndexable(items, { seed: 3 }), fromIndexable(lazy, { seed: 3 })];
    const [first, second] = [await take(fromArray, 10), await take(fromArray, 10)];
    expect(new Set(first)).toEqual(new Set(items));
    expect(new Set(second)).toEqual(new Set(items));
    expect(first).not.toEqual(second);
    expect(await take(fromObject, 20)).toEqual([...first, ...second]);
    expect([fromArray.batchesPerEpoch, fromArray.epoch]).toEqual([10, 2]);
  });

  test('collates this rank part of each batch', async () => {
    const options = {
      batchSize: 4,
      shuffle: false,
      ranks: 2,
      collate: (row: typeof items) => row.map(({ input }) => input),
    };
    expect(await take(fromIndexable(items, { ...options, rank: 0 }), 3)).toEqual([
      [0, 1],
      [4, 5],
      [0, 1],
    ]);
    expect(await take(fromIndexable(items, { ...options, rank: 1 }), 3)).toEqual([
      [2, 3],
      [6, 7],
      [2, 3],
    ]);
  });

  test('a restored position gives the rest', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(25), fc.integer(), async (steps, seed) => {
        const original = fromIndexable(items, { seed, fingerprint: 'squares' });
        await take(original, steps);
        const resumed = fromIndexable(items, { seed, fingerprint: 'squares' });
        await resumed.restore(json(original.position()));
        expect(await take(resumed, 15)).toEqual(await take(original, 15));
      }),
    );
  });

  test('a position of other data is refused', async () => {
    const saved = fromIndexable(items, { fingerprint: 'a' }).position();
    expect(() => fromIndexable(items, { fingerprint: 'b' }).restore(saved)).toThrow(
      /the data are others \(fingerprint a, here b\)/,
    );
    expect(() => fromIndexable(items.slice(1), { fingerprint: 'a' }).restore(saved)).toThrow(/samples was 10, here 9/);
  });

  test('nothing in it, or a batch size without collate', () => {
    expect(() => fromIndexable([])).toThrow('the data have 0 items, fewer than one batch of 1');
    expect(() => fromIndexable(items, { batchSize: 2 } as object)).toThrow('batch size 2 without collate');
  });
});

describe('fromIterable', () => {
  test('goes through the items once per epoch', async () => {
    const source = fromIterable(generate);
    expect(await take(source, 5)).toEqual([...[0, 1, 2, 3].map((index) => `epoch 0 item ${index}`), 'epoch 1 item 0']);
    expect(source.epoch).toBe(1);
    expect(await take(fromIterable([1, 2]), 5)).toEqual([1, 2, 1, 2, 1]);
  });

  test('each rank gets its item of each group, an incomplete group is left out', async () => {
    const part = (rank: number) => take(fromIterable([0, 1, 2, 3, 4], { rank, ranks: 2 }), 3);
    expect([await part(0), await part(1)]).toEqual([
      [0, 2, 0],
      [1, 3, 1],
    ]);
  });

  test('a restored position gives the rest, also in the source it came from', async () => {
    for (let steps = 0; steps < 10; steps++) {
      const original = fromIterable(generate);
      await take(original, steps);
      const position = json(original.position());
      const expected = await take(original, 6);
      const resumed = fromIterable(generate);
      await resumed.restore(position);
      expect(await take(resumed, 6)).toEqual(expected);
      await original.restore(position);
      expect(await take(original, 6)).toEqual(expected);
    }
  });

  test('iterables that cannot serve say so', async () => {
    await expect(fromIterable<number>([]).next()).rejects.toThrow('the iterable gave fewer than 1 items in epoch 0');
    const once = fromIterable(generate(0));
    await take(once, 4);
    await expect(once.next()).rejects.toMatchObject({
      code: 'E_DATA',
      message: 'the iterable gave fewer than 1 items in epoch 1',
      hint: 'It can be gone through only once: give a function that returns a fresh one.',
    });
    const position = { ...fromIterable([1]).position(), sample: 3 };
    await expect(fromIterable([1, 2]).restore(position)).rejects.toThrow(
      'epoch 0, sample 3: the iterable ended after 2 items',
    );
  });

  test('undefined and null items pass through', async () => {
    expect(await take(fromIterable([null, undefined]), 3)).toEqual([null, undefined, null]);
  });
});
