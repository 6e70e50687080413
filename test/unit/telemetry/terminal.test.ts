import { expect, test } from 'vitest';
import { painter, paintLine, wantsColor } from '../../../src/telemetry/terminal.ts';

test.each([
  [{ isTTY: true }, {}, true],
  [{ isTTY: true }, { NO_COLOR: '' }, true],
  [{ isTTY: true }, { NO_COLOR: '1' }, false],
  [{ isTTY: true }, { TERM: 'dumb' }, false],
  [{ isTTY: false }, {}, false],
])('colour on %o with %o: %s', (stream, environment, wanted) => {
  expect(wantsColor({ ...stream, write: () => true }, environment)).toBe(wanted);
});

test('a line is cut by what is seen, not by its codes', () => {
  const paint = painter(true);
  expect(paintLine([['red', 'abc'], 'def', ['bold', 'ghi']], 5, paint)).toBe(`${paint('red', 'abc')}de`);
});
