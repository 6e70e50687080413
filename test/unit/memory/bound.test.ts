/** What `tierra plan` says that no schedule could beat. */
import { expect, it } from 'vitest';
import {
  describeMachine,
  estimateTrace,
  forecastPlan,
  layOut,
  type Machine,
  type Plan,
  planStep,
} from '../../../src/memory/index.ts';
import { llamaParameters } from './models.ts';

const layout = layOut(
  llamaParameters({ layers: 12, hidden: 256, intermediate: 512, heads: 4, keyValueHeads: 4, vocabulary: 512 }),
);
const machine: Machine = {
  ...describeMachine({ tflops: 100, dram: 100 }),
  toDevice: { alone: 20e9, together: 10e9 },
  toHost: { alone: 20e9, together: 10e9 },
};
const trace = estimateTrace({ layout, machine, mode: 'training', tokens: 8 });
const MiB = 2 ** 20;
const plan = planStep({
  layout,
  trace,
  types: { computeBytes: 2, stateBytes: 4 },
  machine,
  budgets: { gpu: 6 * MiB, host: 400 * MiB, nvme: 0 },
  clipping: true,
  speculate: 'never',
});

const boundWith = (changes: Partial<Plan['forecast']>, on: Machine = machine) =>
  forecastPlan({ ...plan, forecast: { ...plan.forecast, ...changes } }, layout, on, trace, 8).bound;
const moved = { read: 0, write: 0, toDevice: 0, toHost: 0, update: 0 };

it('counts the link’s rate alone for what only goes one way', () => {
  const ample = { ...machine, hostDramBytes: 1e15 };
  const busySeconds = { ...moved };
  expect(boundWith({ movedBytes: { ...moved, toDevice: 40e9 }, busySeconds }, ample)).toEqual({
    by: 'link',
    seconds: 2,
  });
  const both = boundWith({ movedBytes: { ...moved, toDevice: 40e9, toHost: 10e9 }, busySeconds }, ample);
  expect(both).toEqual({ by: 'link', seconds: 1 + 1.5 });
});

it('counts, behind the norm, the updates that waited for it and the way of what they made', () => {
  const waiting = plan.chunks.filter(({ update }) => update === 'deferred');
  expect(waiting.length).toBeGreaterThan(plan.chunks.length / 2);
  expect(plan.chunks.some(({ update }) => update === 'speculated' || update === 'immediate')).toBe(false);
  const fetched = waiting.filter(({ resident }) => !resident);
  const fetchedBytes = fetched.reduce((sum, { chunk }) => sum + 2 * layout.chunks[chunk]!.elements, 0);
  const forward = trace.moments.reduce((sum, { pass, seconds }) => sum + (pass === 'forward' ? seconds : 0), 0);
  const { computeSeconds } = plan.forecast;
  const update = 28e6;
  const changes = { movedBytes: { ...moved, update }, busySeconds: { ...moved, update: 1e-9 } };
  const narrow = { ...machine, hostDramBytes: 1e9 };
  expect(boundWith(changes, narrow).by).toBe('norm');
  expect(boundWith(changes, narrow).seconds).toBeCloseTo(
    computeSeconds - forward + (update + fetchedBytes) / narrow.hostDramBytes,
    9,
  );
});
