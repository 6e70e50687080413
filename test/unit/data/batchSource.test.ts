import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isTierraError } from '../../../src/core/errors.ts';
import {
  BatchSource,
  type DataPosition,
  type OrderOptions,
  type TokenBatch,
  type TokenDataset,
} from '../../../src/data/index.ts';

/** Token t has the id t; every third label does not count when `masked`. */
function countingDataset(
  sequences: number,
  sequenceLength = 3,
  masked = false,
  fingerprint = `counting-${sequences}`,
): TokenDataset {
  return {
    sequences,
    sequenceLength,
    tokens: sequences * sequenceLength,
    vocabularySize: sequences * sequenceLength + 1,
    fingerprint,
    read(index, into, trained) {
      for (let at = 0; at <= sequenceLength; at++) {
        into[at] = index * sequenceLength + at;
        if (trained !== undefined) trained[at] = masked && into[at]! % 3 === 0 ? 0 : 1;
      }
    },
    dispose() {},
  };
}

const source = (sequences: number, options: OrderOptions) => new BatchSource(countingDataset(sequences), options);
const samplesOf = ({ inputs, shape }: TokenBatch): number[] =>
  Array.from({ length: shape[0] }, (_, row) => Number(inputs[row * shape[1]]!) / 3);
const take = (from: BatchSource, count: number): number[][] =>
  Array.from({ length: count }, () => samplesOf(from.next()));

describe('batches', () => {
  test('labels are the inputs one token ahead, as int64', () => {
    const batch = source(4, { batchSize: 2, shuffle: false }).next();
    expect(batch.shape).toEqual([2, 3]);
    expect([...batch.inputs]).toEqual([0n, 1n, 2n, 3n, 4n, 5n]);
    expect([...batch.labels]).toEqual([1n, 2n, 3n, 4n, 5n, 6n]);
    expect(batch.countedLabels).toBe(6);
  });

  test('labels that do not count are -100 and counted', () => {
    const batch = new BatchSource(countingDataset(2, 3, true), { batchSize: 2, shuffle: false }).next();
    expect([...batch.labels]).toEqual([1n, 2n, -100n, 4n, 5n, -100n]);
    expect(batch.countedLabels).toBe(4);
  });

  test('an epoch has every sequence once, each epoch in its own order', () => {
    const from = source(12, { batchSize: 4, seed: 5 });
    const [first, second] = [take(from, 3).flat(), take(from, 3).flat()];
    expect([...first].sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, i) => i));
    expect([...second].sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, i) => i));
    expect(first).not.toEqual(second);
  });

  test('the last, short batch is left out or kept as asked', () => {
    const dropped = source(7, { batchSize: 3 });
    expect(dropped.batchesPerEpoch).toBe(2);
    expect([...dropped.restOfEpoch()].map((batch) => batch.shape[0])).toEqual([3, 3]);
    const kept = source(7, { batchSize: 3, dropLast: false });
    expect(kept.batchesPerEpoch).toBe(3);
    expect([...kept.restOfEpoch()].map((batch) => [batch.shape[0], batch.lastOfEpoch])).toEqual([
      [3, false],
      [3, false],
      [1, true],
    ]);
    expect(kept.epoch).toBe(1);
  });
});

describe('ranks', () => {
  test('together they have the single rank order, batch by batch', () => {
    fc.assert(
      fc.property(
        fc.record({
          ranks: fc.integer({ min: 1, max: 5 }),
          perRank: fc.integer({ min: 1, max: 4 }),
          sequences: fc.integer({ min: 20, max: 60 }),
        }),
        fc.record({ seed: fc.integer(), shuffle: fc.boolean(), dropLast: fc.boolean() }),
        ({ ranks, perRank, sequences }, order) => {
          const batchSize = ranks * perRank;
          const single = source(sequences, { batchSize, ...order });
          const parts = Array.from({ length: ranks }, (_, rank) =>
            source(sequences, { batchSize, rank, ranks, ...order }),
          );
          for (let step = 0; step < 2 * single.batchesPerEpoch; step++) {
            expect(parts.flatMap((part) => samplesOf(part.next()))).toEqual(samplesOf(single.next()));
          }
          for (const part of parts) expect(part.position()).toEqual(single.position());
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('position', () => {
  test('restored at any point, through JSON, the rest is the same', () => {
    fc.assert(
      fc.property(
        fc.record({
          batchSize: fc.integer({ min: 1, max: 6 }),
          seed: fc.integer(),
          shuffle: fc.boolean(),
          dropLast: fc.boolean(),
        }),
        fc.nat(30),
        (options, steps) => {
          const original = source(17, options);
          take(original, steps);
          const saved = JSON.parse(JSON.stringify(original.position())) as DataPosition;
          const resumed = source(17, options);
          resumed.restore(saved);
          expect(resumed.epoch).toBe(original.epoch);
          expect(take(resumed, 12)).toEqual(take(original, 12));
          expect(resumed.position()).toEqual(original.position());
        },
      ),
    );
  });

  test('goes on with another batch size and number of ranks at the same sample', () => {
    const original = source(24, { batchSize: 4, seed: 1 });
    take(original, 2);
    const parts = [0, 1].map((rank) => source(24, { batchSize: 8, seed: 1, rank, ranks: 2 }));
    for (const part of parts) part.restore(original.position());
    const expected = take(original, 4).flat();
    expect([0, 1].flatMap(() => parts.flatMap((part) => samplesOf(part.next())))).toEqual(expected);
  });

  test('of other data is refused, saying what changed, unless accepted', () => {
    const saved = source(12, { batchSize: 2, seed: 1 });
    take(saved, 2);
    const other = new BatchSource(countingDataset(15, 3, false, 'changed'), { batchSize: 2, seed: 2 });
    expect(() => other.restore(saved.position())).toThrow(
      'data position of epoch 0, sample 4: the data are others (fingerprint counting-12, here changed); samples was 12, here 15; seed was 1, here 2',
    );
    try {
      other.restore(saved.position());
    } catch (error) {
      expect(isTierraError(error, 'E_DATA')).toBe(true);
    }
    other.restore(saved.position(), { acceptOtherData: true });
    expect(other.position()).toMatchObject({ epoch: 0, sample: 4, fingerprint: 'changed', seed: 2 });
  });

  test('that is none is refused', () => {
    const from = source(4, { batchSize: 2 });
    for (const broken of [null, {}, { ...from.position(), sample: -1 }, { ...from.position(), version: 2 }]) {
      expect(() => from.restore(broken as DataPosition)).toThrow(/^data position: not a position of version 1/);
    }
  });
});

describe('options that cannot be', () => {
  test.each<[OrderOptions, RegExp]>([
    [{ batchSize: 0 }, /^batch size 0: expected a whole number from 1/],
    [{ batchSize: 5, ranks: 2 }, /^batch size 5 over 2 ranks: 5 \/ 2 is not whole/],
    [{ batchSize: 2, rank: 2, ranks: 2 }, /^rank 2 is not in 0..1/],
    [{ batchSize: 2, seed: 0.5 }, /^seed 0.5: expected a whole number/],
    [{ batchSize: 9 }, /^the data have 8 sequences of 3 tokens, fewer than one batch of 9/],
  ])('%j', (options, message) => {
    expect(() => source(8, options)).toThrow(message);
  });
});
