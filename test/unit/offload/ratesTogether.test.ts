import { expect, test } from 'vitest';
import { ratesTogether } from '../../../src/offload/measure/ratesTogether.ts';

const span = (lane: 'read' | 'write', startUs: number, endUs: number) => ({
  lane,
  startUs,
  durationUs: endUs - startUs,
  bytes: 100,
});

test('rates are those of the time in which both ways have something to move', () => {
  // Reads end at 200; writes go on alone, faster, until 350.
  const reads = [span('read', 1000, 1100), span('read', 1100, 1200)];
  const writes = [span('write', 1000, 1150), span('write', 1150, 1250), span('write', 1250, 1350)];
  expect(ratesTogether([...writes, ...reads])).toEqual({ read: 200 / 200e-6, write: 150 / 200e-6 });
});

test('tickets that overlap count once, each for the time since the one before ended', () => {
  const writes = [span('write', 0, 100), span('write', 0, 200), span('write', 0, 300)];
  const { read, write } = ratesTogether([span('read', 0, 250), ...writes]);
  expect(read).toBeCloseTo(100 / 250e-6, 3);
  expect(write).toBeCloseTo(250 / 250e-6, 3);
});

test('ways that end at the same time have all their bytes', () => {
  expect(ratesTogether([span('read', 0, 100), span('write', 0, 100)])).toEqual({ read: 1e6, write: 1e6 });
});
