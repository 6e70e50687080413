/** Drawing the next token from known logits. */
import { describe, expect, it } from 'vitest';
import { drawToken } from '../../src/engine/sampling.ts';
import { native } from '../../src/native/load.ts';
import { ops, scope } from '../../src/tensor/index.ts';

const probabilities = [0.1, 0.4, 0.05, 0.3, 0.15];
const all = { temperature: 1, topK: null, topP: 1 };

/** Shares of each token in many draws. */
function shares(
  settings: typeof all | { temperature: number; topK: number | null; topP: number },
  limit = 5,
): number[] {
  const draws = 2000;
  const counts = probabilities.map(() => 0);
  native().seed('cpu', 11n);
  scope(() => {
    const logits = ops.log(ops.fromArray(probabilities));
    for (let i = 0; i < draws; i++) counts[drawToken(logits, settings, limit)]! += 1 / draws;
  });
  return counts;
}

function expectShares(actual: readonly number[], expected: readonly number[]): void {
  for (const [token, share] of expected.entries()) {
    if (share === 0) expect(actual[token], `token ${token}`).toBe(0);
    else expect(Math.abs(actual[token]! - share), `token ${token}`).toBeLessThan(0.04);
  }
}

describe('drawToken', () => {
  it('follows the probabilities, sharper or flatter by temperature', () => {
    expectShares(shares(all), probabilities);
    const squares = probabilities.map((p) => p * p);
    const sum = squares.reduce((total, value) => total + value, 0);
    expectShares(
      shares({ ...all, temperature: 0.5 }),
      squares.map((value) => value / sum),
    );
  });

  it('takes the likeliest at temperature 0', () => {
    expectShares(shares({ ...all, temperature: 0 }), [0, 1, 0, 0, 0]);
  });

  it('keeps the k likeliest, or the likeliest that reach p', () => {
    expectShares(shares({ ...all, topK: 2 }), [0, 4 / 7, 0, 3 / 7, 0]);
    expectShares(shares({ ...all, topK: 50 }), probabilities);
    expectShares(shares({ ...all, topP: 0.6 }), [0, 4 / 7, 0, 3 / 7, 0]);
    expectShares(shares({ ...all, topP: 0.01 }), [0, 1, 0, 0, 0]);
    expectShares(shares({ ...all, topK: 3, topP: 0.4 }), [0, 1, 0, 0, 0]);
  });

  it('never draws ids that the tokenizer does not have', () => {
    expectShares(shares(all, 3), [0.1 / 0.55, 0.4 / 0.55, 0.05 / 0.55, 0, 0]);
  });

  it('draws the same for the same seed', () => {
    expect(shares(all)).toEqual(shares(all));
  });
});
