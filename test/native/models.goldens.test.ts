/** Checkpoints written by transformers give the logits that transformers computed. */
import { describe, expect, it } from 'vitest';
import { loadPretrained } from '../../src/models/index.ts';
import { goldenModel, goldenNames, largestDifference, logitsOf } from '../cases/goldenModels.ts';

describe('checkpoints of transformers', () => {
  it.each(goldenNames)('%s has the same logits', (name) => {
    const { folder, ids, logits } = goldenModel(name);
    const model = loadPretrained(folder);
    const difference = largestDifference(logitsOf(model, ids), logits);
    expect(logits.some((x) => Math.abs(x) > 0.5)).toBe(true);
    expect(difference).toBeLessThan(1e-5);
    model.unplace();
  });

  it('are loaded in any floating type', () => {
    const { folder, ids, logits } = goldenModel('llama');
    const double = loadPretrained(folder, { dtype: 'float64' });
    expect(largestDifference(logitsOf(double, ids), logits)).toBeLessThan(1e-5);
    double.unplace();
    const half = loadPretrained(folder, { dtype: 'bfloat16' });
    const difference = largestDifference(logitsOf(half, ids), logits);
    expect(difference).toBeGreaterThan(1e-5);
    expect(difference).toBeLessThan(0.2);
    half.unplace();
  });
});
