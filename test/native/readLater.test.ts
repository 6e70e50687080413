import { expect, it } from 'vitest';
import { ops, readLater, scope } from '../../src/tensor/index.ts';

it('reads numbers of tensors that are gone and changed by then', () => {
  const read = scope(() => {
    const loss = ops.fromArray([1.5], []);
    const narrow = ops.fromArray([2.25], [1, 1], { dtype: 'bfloat16' });
    const started = readLater([loss, narrow]);
    ops.fillInPlace(loss, 7);
    return started;
  });
  expect(read()).toEqual([1.5, 2.25]);
  expect(read()).toEqual([1.5, 2.25]);
  expect(readLater([])()).toEqual([]);
});

it('takes tensors of one element, and says so', () => {
  const pair = ops.fromArray([1, 2], [2]);
  expect(() => readLater([pair])).toThrow(/readLater\(\) takes tensors of one element, this one has 2/);
});
