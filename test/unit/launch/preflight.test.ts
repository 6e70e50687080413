/** What `tierra check` makes of the answers of ranks. */
import { expect, test } from 'vitest';
import { findingsOf, type RankFacts, readyText } from '../../../src/dist/launch/preflight.ts';

const versions = { tierra: '0.1.0', node: '20.19.0', libtorch: '2.11.0', 'addon contract': '40', backend: 'nccl' };
const rank = (number: number, changes: Partial<RankFacts> = {}): RankFacts => ({
  ...{ rank: number, host: number < 2 ? 'a' : 'b', versions, devices: 2, device: `cuda:${number % 2}` },
  clockMs: 0,
  clockErrorMs: 1,
  ...changes,
});
const bandwidth = { bytes: 1 << 24, seconds: 0.001, ranks: 4 };

const bad = (ranks: readonly RankFacts[]): Record<string, string> =>
  Object.fromEntries(
    findingsOf(ranks, bandwidth)
      .filter(({ verdict }) => verdict === 'bad')
      .map(({ check, says }) => [check, says]),
  );

test('equal ranks are ready', () => {
  const findings = findingsOf(
    [0, 1, 2, 3].map((number) => rank(number)),
    bandwidth,
  );
  expect(readyText(findings)).toBe('ready to train');
  expect(findings.map(({ check }) => check)).toEqual([...Object.keys(versions), 'devices', 'clocks', 'bandwidth']);
  // 2 (n-1)/n of the bytes over the time.
  expect(findings.at(-1)!.says).toBe('all-reduce of 17 MB on 4 ranks: 1.0 ms, 25.17 GB/s');
});

test.each(Object.keys(versions))('another %s is named with its host and rank', (name) => {
  const ranks = [rank(0), rank(1), rank(2, { versions: { ...versions, [name]: 'other' } }), rank(3)];
  expect(bad(ranks)).toEqual({ [name]: `${versions[name as keyof typeof versions]} on a, other on b (rank 2)` });
  expect(readyText(findingsOf(ranks, null))).toBe(`not ready: ${name}`);
});

test('a host without GPUs, and a clock that is off for certain', () => {
  const ranks = [
    rank(0),
    rank(1),
    rank(2, { devices: 0, device: 'cpu' }),
    rank(3, { clockMs: -1500, clockErrorMs: 20 }),
  ];
  expect(bad(ranks)).toEqual({
    devices: 'a: 2 GPUs, b: 2 GPUs',
    clocks: 'b (rank 3) is -1500 ms off, ±20 ms',
  });
  // As far off as the measurement may be: nothing is said.
  expect(bad([rank(0), rank(1, { clockMs: 1500, clockErrorMs: 900 })])).toEqual({});
});
