/** Losses against plain compositions in fp64, with gradients. */
import { describe, expect, it } from 'vitest';
import { crossEntropy, linearCrossEntropy, meanSquaredError } from '../../src/nn/index.ts';
import { grad, ops, scope, type Tensor, withGrad } from '../../src/tensor/index.ts';
import { deviates, expectAgreement, valuesAndGradients } from '../cases/agreement.ts';
import { largestDifference } from '../cases/goldenModels.ts';

const rows = 11;
const classes = 7;
const width = 5;
const labelled = [3, 0, -100, 6, 2, 2, -100, 1, 5, 4, 3];

const ids = (labels: readonly number[]) => ops.fromArray(labels, [labels.length], { dtype: 'int64' }).keep();

/** Minus the mean log-probability of the labels, over the rows that have one. */
function formula(logits: Tensor, labels: readonly number[]): Tensor {
  const counted = labels.map((label, row) => ({ label, row })).filter(({ label }) => label !== -100);
  const weights = new Float64Array(labels.length * classes);
  for (const { label, row } of counted) weights[row * classes + label] = -1 / counted.length;
  const flat = ops.reshape(logits, [-1, classes]);
  return ops.sum(ops.mul(ops.logSoftmax(flat, 1), ops.fromArray(weights, [labels.length, classes])));
}

describe('crossEntropy', () => {
  it('is the mean over rows with a label, for any leading shape', () => {
    const logits = deviates(1, [1, rows, classes]).requireGrad();
    const labels = scope(() => ops.reshape(ids(labelled), [1, rows])).keep();
    expectAgreement(
      () => crossEntropy(logits, labels),
      () => formula(logits, labelled),
      [logits],
    );
    logits.dispose();
    labels.dispose();
  });

  it('smooths labels, sums, and leaves rows apart', () => {
    scope(() => {
      const logits = deviates(1, [rows, classes]);
      const labels = ids(labelled);
      const each = ops.toArray(crossEntropy(logits, labels, { reduction: 'none' }));
      expect(each[2]).toBe(0);
      const total = each.reduce((sum, value) => sum + value, 0);
      expect(crossEntropy(logits, labels, { reduction: 'sum' }).item()).toBeCloseTo(total, 10);
      expect(crossEntropy(logits, labels).item()).toBeCloseTo(total / 9, 10);
      const smooth = ops.toArray(crossEntropy(logits, labels, { reduction: 'none', labelSmoothing: 0.2 }));
      const logs = ops.toArray(ops.logSoftmax(logits, 1));
      const uniform = -logs.slice(0, classes).reduce((sum, value) => sum + value, 0) / classes;
      expect(smooth[0]).toBeCloseTo(0.8 * each[0]! + 0.2 * uniform, 10);
    });
  });
});

describe('linearCrossEntropy', () => {
  it.each([1, 2, 3, 4, 10, 11, 1000])('equals cross entropy of the product, %i rows at a time', (chunk) => {
    const hidden = deviates(2, [rows, width]).requireGrad();
    const weight = deviates(3, [classes, width]).requireGrad();
    const labels = ids(labelled);
    expectAgreement(
      () => linearCrossEntropy(hidden, weight, labels, chunk),
      () => formula(ops.matmul(hidden, ops.transpose(weight, 0, 1)), labelled),
      [hidden, weight],
    );
    for (const tensor of [hidden, weight, labels]) tensor.dispose();
  });

  it('takes `[b, t, width]` and chooses a chunk itself', () => {
    const hidden = deviates(2, [1, rows, width]).requireGrad();
    const weight = deviates(3, [classes, width]).requireGrad();
    const labels = scope(() => ops.reshape(ids(labelled), [1, rows])).keep();
    expectAgreement(
      () => linearCrossEntropy(hidden, weight, labels),
      () => formula(ops.matmul(hidden, ops.transpose(weight, 0, 1)), labelled),
      [hidden, weight],
    );
    for (const tensor of [hidden, weight, labels]) tensor.dispose();
  });

  it('passes the gradient of what comes after it on', () => {
    const hidden = deviates(2, [rows, width]).requireGrad();
    const weight = deviates(3, [classes, width]);
    const labels = ids(labelled);
    const [, once] = valuesAndGradients(() => linearCrossEntropy(hidden, weight, labels, 4), [hidden]);
    const [, twice] = valuesAndGradients(() => ops.mul(linearCrossEntropy(hidden, weight, labels, 4), -3), [hidden]);
    expect(
      largestDifference(
        twice!,
        once!.map((value) => -3 * value),
      ),
    ).toBeLessThan(1e-12);
    for (const tensor of [hidden, weight, labels]) tensor.dispose();
  });

  it('without any label is NaN with zero gradients, as in libtorch', () => {
    const none = labelled.map(() => -100);
    const hidden = deviates(2, [rows, width]).requireGrad();
    const weight = deviates(3, [classes, width]).requireGrad();
    const labels = ids(none);
    scope(() => {
      for (const body of [
        () => linearCrossEntropy(hidden, weight, labels, 4),
        () => crossEntropy(ops.matmul(hidden, ops.transpose(weight, 0, 1)), labels),
      ]) {
        const loss = withGrad(body);
        expect(loss.item()).toBeNaN();
        for (const gradient of grad([loss], [hidden, weight])) {
          expect(new Set(ops.toArray(gradient!).map(Math.abs))).toEqual(new Set([0]));
        }
      }
    });
    for (const tensor of [hidden, weight, labels]) tensor.dispose();
  });

  it('in bf16 stays near fp32', () => {
    scope(() => {
      const hidden = deviates(2, [rows, width]);
      const weight = deviates(3, [classes, width]);
      const labels = ids(labelled);
      const half = (x: Tensor) => ops.to(x, { dtype: 'bfloat16' });
      const loss = linearCrossEntropy(half(hidden), half(weight), labels, 4);
      expect(loss.dtype).toBe('float32');
      expect(Math.abs(loss.item() - linearCrossEntropy(hidden, weight, labels).item())).toBeLessThan(0.03);
    });
  });

  it('refuses labels outside the vocabulary, negative ones included, and shapes that do not fit', () => {
    scope(() => {
      const hidden = deviates(2, [rows, width]);
      const weight = deviates(3, [classes, width]);
      for (const bad of [classes, -1]) {
        const labels = ids(labelled.map((label, i) => (i === 5 ? bad : label)));
        expect(() => linearCrossEntropy(hidden, weight, labels, 4), String(bad)).toThrow('index');
      }
      const fits = ids(labelled);
      expect(() => linearCrossEntropy(hidden, deviates(4, [classes, 4]), fits)).toThrow('[rows, width]');
      expect(() => linearCrossEntropy(hidden, weight, ids([1, 2]))).toThrow(`labels must be int64 [${rows}], got [2]`);
    });
  });
});

describe('meanSquaredError', () => {
  it('is the mean of squared differences', () => {
    scope(() => {
      const loss = meanSquaredError(ops.fromArray([1, 2, 3]), ops.fromArray([2, 2, 0]));
      expect(loss.item()).toBeCloseTo(10 / 3, 6);
    });
  });
});
