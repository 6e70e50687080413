import fc from 'fast-check';
import { expect, test } from 'vitest';
import { splitGap, splitWait, type TicketTimes, type WaitContext } from '../../../src/offload/chunked/reportWaits.ts';

type Chain = Readonly<Record<number, TicketTimes & { readonly before?: readonly number[] }>>;

const context = (chain: Chain): WaitContext => ({
  times: (ticket) => chain[ticket],
  before: (ticket) => chain[ticket]?.before ?? [],
});

test('a wait is split along the chain of tickets that held it', () => {
  const chain = {
    1: { startUs: 0, endUs: 40 },
    2: { startUs: 40, endUs: 70, before: [1] },
    3: { startUs: 72, endUs: 90, before: [2] },
  };
  expect(splitWait({ startUs: 30, endUs: 91 }, [3], context(chain))).toEqual([
    { ticket: 1, startUs: 30, endUs: 40 },
    { ticket: 2, startUs: 40, endUs: 70 },
    { ticket: 3, startUs: 70, endUs: 91 },
  ]);
});

test('of several tickets the last one to end counts, and what ended before the wait does not', () => {
  const chain = {
    1: { startUs: 0, endUs: 10 },
    2: { startUs: 5, endUs: 60, before: [1] },
    3: { startUs: 5, endUs: 50, before: [1] },
  };
  expect(splitWait({ startUs: 20, endUs: 60 }, [2, 3], context(chain))).toEqual([
    { ticket: 2, startUs: 20, endUs: 60 },
  ]);
});

test('a ticket whose end is not known yet takes the whole wait', () => {
  expect(splitWait({ startUs: 5, endUs: 9 }, [7], context({}))).toEqual([{ ticket: 7, startUs: 5, endUs: 9 }]);
  expect(splitWait({ startUs: 5, endUs: 9 }, [], context({}))).toEqual([{ ticket: 0, startUs: 5, endUs: 9 }]);
});

test('a device that stood still waited for what ended in the gap, and then for the host', () => {
  const chain = {
    1: { startUs: 0, endUs: 100 },
    2: { startUs: 100, endUs: 160, before: [1] },
  };
  const gap = { startUs: 90, endUs: 200 };
  expect(splitGap(gap, [1, 2], context(chain))).toEqual([
    { ticket: 1, startUs: 90, endUs: 100 },
    { ticket: 2, startUs: 100, endUs: 160 },
    { ticket: 0, startUs: 160, endUs: 200 },
  ]);
  // Everything awaited was there: the host was late.
  expect(splitGap({ startUs: 200, endUs: 250 }, [1, 2], context(chain))).toEqual([
    { ticket: 0, startUs: 200, endUs: 250 },
  ]);
  expect(splitGap({ startUs: 200, endUs: 203 }, [1], context(chain))).toEqual([]);
});

test('compute that began behind a copy waited for it, also where the end of the copy was read too late', () => {
  // An update, the copy of what it made, and the clock of copies 40 ahead of that of compute.
  const chain = {
    1: { startUs: 0, endUs: 500 },
    2: { startUs: 500, endUs: 620, before: [1] },
  };
  expect(splitGap({ startUs: 100, endUs: 580 }, [2], context(chain))).toEqual([
    { ticket: 1, startUs: 100, endUs: 500 },
    { ticket: 2, startUs: 500, endUs: 580 },
  ]);
  // So late that even its beginning seems to lie behind that of compute.
  const later = { ...chain, 1: { startUs: 0, endUs: 300 } };
  expect(splitGap({ startUs: 100, endUs: 420 }, [2], context(later))).toEqual([
    { ticket: 1, startUs: 100, endUs: 300 },
    { ticket: 2, startUs: 300, endUs: 420 },
  ]);
});

test('pieces cover any wait without gap or overlap, whatever ran', () => {
  const ticket = fc.record({
    startUs: fc.integer({ min: 0, max: 500 }),
    lasts: fc.integer({ min: 0, max: 100 }),
    before: fc.array(fc.integer({ min: 0, max: 19 }), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(
      fc.array(ticket, { maxLength: 20 }),
      fc.array(fc.integer({ min: 0, max: 19 }), { maxLength: 4 }),
      fc.integer({ min: 0, max: 500 }),
      fc.integer({ min: 1, max: 200 }),
      (tickets, awaited, startUs, lasts) => {
        const chain = tickets.map(({ startUs: from, lasts: us, before }, index) => ({
          startUs: from,
          endUs: from + us,
          // As in the executor: only tickets that were handed over earlier.
          before: before.filter((other) => other < index),
        }));
        const wait = { startUs, endUs: startUs + lasts };
        const pieces = splitWait(wait, awaited, context({ ...chain }));
        expect(pieces[0]!.startUs).toBe(wait.startUs);
        expect(pieces.at(-1)!.endUs).toBe(wait.endUs);
        for (const [index, piece] of pieces.entries()) {
          expect(piece.endUs).toBeGreaterThan(piece.startUs);
          if (index > 0) expect(piece.startUs).toBe(pieces[index - 1]!.endUs);
        }
      },
    ),
  );
});
