import { expect, test } from 'vitest';
import { bar, sparkline } from '../../../src/telemetry/charts.ts';
import { History } from '../../../src/telemetry/history.ts';

test.each([
  [0, '', '░░░░'],
  [0.5, '██', '░░'],
  [0.53125, '██▏', '░'],
  [1, '████', ''],
  [7, '████', ''],
  [-1, '', '░░░░'],
  [Number.NaN, '', '░░░░'],
])('a bar of %f', (fraction, filled, rest) => {
  expect(bar(fraction, 4)).toEqual({ filled, rest });
});

test('a sparkline spans least to greatest and marks what is no number', () => {
  expect(sparkline([7, 6, 5, 4, 3, 2, 1, 0])).toBe('█▇▆▅▄▃▂▁');
  expect(sparkline([2, 2, 2])).toBe('▁▁▁');
  expect(sparkline([1, Number.NaN, 0])).toBe('█!▁');
  expect(sparkline([])).toBe('');
});

test('a history keeps the whole series in bounded space', () => {
  const history = new History(8);
  for (let value = 0; value < 1000; value++) history.add(value);
  const points = history.points(100);
  expect(points.length).toBeLessThan(8);
  expect(points).toEqual([...points].sort((a, b) => a - b));
  expect(points[0]).toBe(63.5);
  expect(history.points(2)).toHaveLength(2);
});
