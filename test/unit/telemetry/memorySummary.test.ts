import { expect, test } from 'vitest';
import { type MovementFigures, movementText, planText, SpanPacker } from '../../../src/telemetry/index.ts';

const MiB = 2 ** 20;
const plan = {
  parameters: { gpu: 38 * MiB, host: 62 * MiB, nvme: 0 },
  states: { gpu: 1, host: 600 * MiB, nvme: 300 * MiB },
  gradients: { gpu: 0, host: 100 * MiB, nvme: 0 },
  stepSeconds: 1.2,
  computeSeconds: 0.75,
  lanes: {
    toDevice: { bytes: 150 * MiB, busySeconds: 0.006 },
    toHost: { bytes: 100 * MiB, busySeconds: 0.0045 },
    read: { bytes: 300 * MiB, busySeconds: 0.15 },
    write: { bytes: 300 * MiB, busySeconds: 0.15 },
    update: { bytes: 0, busySeconds: 0 },
  },
  limit: 'disk' as const,
};
const report: MovementFigures = {
  plan,
  steps: 99,
  stepSeconds: 1.25,
  computeSeconds: 0.8,
  lanes: {
    toDevice: { bytes: 150 * MiB, busySeconds: 0.012 },
    toHost: { bytes: 100 * MiB, busySeconds: 0.009 },
    read: { bytes: 300 * MiB, busySeconds: 0.4 },
    write: { bytes: 300 * MiB, busySeconds: 0.35 },
    update: { bytes: 0, busySeconds: 0 },
  },
  waits: [
    { cause: 'states from disk', seconds: 0.3 },
    { cause: 'optimizer', seconds: 0.1 },
    { cause: 'gradients to cpu', seconds: 0.002 },
  ],
};

test('a plan in one line, no share rounded to nothing', () => {
  expect(planText(plan)).toBe(
    'plan: parameters 38% gpu, 62% cpu; states 1% gpu, 67% cpu, 33% disk; forecast 1.20 s a step, limited by disk',
  );
  const nothing = { gpu: 0, host: 0, nvme: 0 };
  const forward = { ...plan, parameters: { ...nothing, gpu: 5 }, states: nothing, stepSeconds: 0.0421 };
  expect(planText({ ...forward, limit: 'compute' })).toBe(
    'plan: parameters 100% gpu; forecast 42.1 ms a step, limited by compute',
  );
});

test('what lives where, what moved, and where the time went', () => {
  expect(movementText(report)).toMatchInlineSnapshot(`
    "at rest                              gpu       cpu     disk
      parameters                    38.0 MiB  62.0 MiB        -
      gradients                            -   100 MiB        -
      states                             1 B   600 MiB  300 MiB
    moved in a step                   bytes     busy            rate    planned
      cpu to gpu                    150 MiB  12.0 ms   1%  13.1 GB/s  26.2 GB/s
      gpu to cpu                    100 MiB   9.0 ms   1%  11.7 GB/s  23.3 GB/s
      disk to cpu                   300 MiB   400 ms  32%   786 MB/s   2.1 GB/s
      cpu to disk                   300 MiB   350 ms  28%   899 MB/s   2.1 GB/s
    time of a step, mean of 99       1.25 s  100%  planned 1.20 s
      computing                      800 ms   64%  planned 750 ms
      waiting: states from disk      300 ms   24%
      waiting: optimizer             100 ms    8%
      waiting: others                2.0 ms    0%
      between units                 48.0 ms    4%"
  `);
});

test('what became of guesses, where there were any', () => {
  const guesses = { right: 90, redone: 5, waited: 4 };
  expect(
    movementText({ ...report, guesses })
      .split('\n')
      .at(-1),
  ).toBe('updates before the norm: kept in 90 steps, made again in 5, held back in 4');
});

test('spans that overlap get lanes of their own, as few as possible', () => {
  const packer = new SpanPacker();
  const spans = [
    { startUs: 30, durationUs: 5 },
    { startUs: 0, durationUs: 10 },
    { startUs: 5, durationUs: 10 },
    { startUs: 10, durationUs: 20 },
  ];
  const lanes = packer.inOrder(spans).map(({ startUs, durationUs }) => packer.lane('disk', startUs, durationUs));
  expect(lanes).toEqual(['disk', 'disk 2', 'disk', 'disk']);
});
