/** Generation through the key/value cache equals running the whole sequence again for every token. */
import { describe, expect, it } from 'vitest';
import { generateIds } from '../../src/engine/generate.ts';
import { type LanguageModel, loadPretrained } from '../../src/models/index.ts';
import { KeyValueCache, type UnitHost } from '../../src/nn/index.ts';
import { noGrad, ops, scope } from '../../src/tensor/index.ts';
import { goldenModel, goldenNames, largestDifference, logitsOf } from '../cases/goldenModels.ts';

const store: UnitHost = { acquire() {}, release() {}, gradientsReady() {}, park() {}, unpark() {} };
const greedily = { prompt: '', temperature: 0, topK: null, topP: 1, seed: 1 };

function generated(model: LanguageModel, prompt: readonly number[], tokens: number): number[] {
  const stop = { endOfText: null, vocabulary: model.vocabularySize };
  return [...generateIds({ model, store, device: 'cpu' }, prompt, { ...greedily, tokens }, stop)];
}

/** Logits of `ids` given to the model in pieces of the given lengths. */
function inPieces(model: LanguageModel, ids: readonly number[], lengths: readonly number[]): number[] {
  using cache = new KeyValueCache();
  const all: number[] = [];
  let start = 0;
  for (const length of lengths) {
    scope(() =>
      noGrad(() => {
        const piece = ops.fromArray(ids.slice(start, start + length), [1, length], { dtype: 'int64' });
        all.push(...ops.toArray(model.call({ ids: piece, cache, start })));
      }),
    );
    start += length;
  }
  expect(cache.length).toBe(ids.length);
  return all;
}

describe('generation with a cache', () => {
  it.each(goldenNames)('%s continues as transformers does', (name) => {
    const { folder, prompt, greedy } = goldenModel(name);
    const model = loadPretrained(folder);
    expect(generated(model, prompt, greedy.length)).toEqual(greedy);
    model.unplace();
  });

  it.each(goldenNames)('%s gives the same logits in pieces as at once', (name) => {
    const { folder, ids } = goldenModel(name);
    const row = ids[0]!;
    const model = loadPretrained(folder);
    const whole = logitsOf(model, [row]);
    for (const lengths of [row.map(() => 1), [7, 1, 1, 6, 1, 4], [1, 19]]) {
      expect(largestDifference(inPieces(model, row, lengths), whole), lengths.join()).toBeLessThan(2e-5);
    }
    model.unplace();
  });

  it('ends at the last position, and refuses a prompt beyond it', () => {
    const { folder, ids } = goldenModel('gpt2');
    const model = loadPretrained(folder);
    const prompt = [...ids[0]!, ...ids[1]!].slice(0, 30);
    expect(generated(model, prompt, 10)).toHaveLength(3); // from 30, 31 and 32 positions
    expect(() => generated(model, [...prompt, 1, 2, 3], 10)).toThrow('33 positions are more than the model has: 32');
    model.unplace();
  });
});
