/** A disk reads and writes at other rates when it does both: in the null device, in what no schedule could beat, and as described. */
import { expect, it, test } from 'vitest';
import {
  describeMachine,
  estimateTrace,
  forecastPlan,
  layOut,
  type Machine,
  planStep,
  referenceMachine,
  simulate,
  unroll,
} from '../../../src/memory/index.ts';
import { LaneRates } from '../../../src/memory/lanes.ts';
import { llamaParameters } from './models.ts';

const disk = (fromDisk: Machine['fromDisk'], toDisk: Machine['toDisk']): Machine => ({
  ...describeMachine({ tflops: 100, dram: 1000 }),
  fromDisk,
  toDisk,
});

test('a lane of the disk has its rate alone until the other one is busy', () => {
  const rates = new LaneRates(disk({ alone: 7, together: 4 }, { alone: 5, together: 2 }));
  const of = (read: boolean, write: boolean, others = false) =>
    [...rates.of([read, write, others, others, others])].slice(0, 2);
  expect(of(true, false)).toEqual([7, 0]);
  expect(of(false, true)).toEqual([0, 5]);
  expect(of(true, true)).toEqual([4, 2]);
  // Copies and the optimizer are no business of the disk's.
  expect(of(true, false, true)).toEqual([7, 0]);
  expect([rates.alone('read'), rates.alone('write')]).toEqual([7, 5]);
});

test('a described disk does one thing at a time; the assumed one is as it was measured', () => {
  const { fromDisk, toDisk } = describeMachine({ diskRead: 6, diskWrite: 3 });
  expect(fromDisk.alone).toBe(6e9);
  expect(toDisk.alone).toBe(3e9);
  expect(fromDisk.together).toBeCloseTo(2e9, 0);
  expect(toDisk.together).toBeCloseTo(2e9, 0);
  expect(describeMachine({ pcie: 20 })).toMatchObject({
    fromDisk: referenceMachine.fromDisk,
    toDisk: referenceMachine.toDisk,
  });
});

const layout = layOut(
  llamaParameters({ layers: 12, hidden: 256, intermediate: 512, heads: 4, keyValueHeads: 4, vocabulary: 512 }),
);
const trace = estimateTrace({
  layout,
  machine: disk(referenceMachine.fromDisk, referenceMachine.toDisk),
  mode: 'training',
  tokens: 8,
});
const slow = (alone: number, together: number): Machine => disk({ alone, together }, { alone, together });
const MiB = 2 ** 20;
const planFor = (machine: Machine) =>
  planStep({
    layout,
    trace,
    types: { computeBytes: 2, stateBytes: 4 },
    machine,
    budgets: { gpu: 6 * MiB, host: 30 * MiB, nvme: 400 * MiB },
  });

it('a step that waits for the disk takes as long as both ways at once take', () => {
  const halves = slow(1e8, 5e7);
  const plan = planFor(halves);
  const seconds = (machine: Machine) => simulate(unroll(plan, trace, layout, 4), machine).stepSeconds;
  const both = plan.forecast.movedBytes.read / 5e7;
  expect(plan.forecast.movedBytes.read).toBe(plan.forecast.movedBytes.write);
  expect(seconds(halves)).toBeGreaterThanOrEqual(both);
  expect(seconds(halves)).toBeLessThan(1.25 * both);
  expect(seconds(slow(1e8, 1e8))).toBeLessThan(0.75 * seconds(halves));
});

it('no schedule beats the bound, whether ways overlap, only one is used, or both at once are worse than in turn', () => {
  for (const together of [1e8, 5e7, 2e7]) {
    const machine = slow(1e8, together);
    const plan = planFor(machine);
    const bound = (read: number, write: number) => {
      const { forecast } = plan;
      const moved = { ...plan, forecast: { ...forecast, movedBytes: { ...forecast.movedBytes, read, write } } };
      return forecastPlan(moved, layout, machine, trace, 8).bound;
    };
    const whole = forecastPlan(plan, layout, machine, trace, 8);
    expect(whole.bound.by).toBe('disk');
    expect(whole.stepSeconds).toBeGreaterThanOrEqual(whole.bound.seconds);
    expect(bound(1e9, 0)).toEqual({ by: 'disk', seconds: 10 });
    // In turn: 10 + 5 seconds. At once: 0.5 GB both ways, then half a GB alone.
    expect(bound(1e9, 5e8).seconds).toBeCloseTo(Math.min(15, 5e8 / together + 5), 6);
  }
});
