import { describe, expect, it } from 'vitest';
import {
  describeMachine,
  estimateTrace,
  layOut,
  type Plan,
  type PlanInput,
  planStep,
  simulate,
  type Ticket,
  unroll,
} from '../../../src/memory/index.ts';
import { llamaParameters } from './models.ts';

const layout = layOut(
  llamaParameters({ layers: 12, hidden: 256, intermediate: 512, heads: 4, keyValueHeads: 4, vocabulary: 512 }),
);
const machine = describeMachine({ tflops: 0.05, pcie: 1, dram: 4, diskRead: 0.6, diskWrite: 0.6 });
const MiB = 2 ** 20;

function problem(gpu: number, host: number, nvme: number): PlanInput {
  const trace = estimateTrace({ layout, machine, mode: 'training', tokens: 64, recompute: true });
  const budgets = { gpu: gpu * MiB, host: host * MiB, nvme: nvme * MiB };
  return { layout, trace, types: { computeBytes: 2, stateBytes: 4 }, machine, budgets };
}

/** The plan with some edges cut out. */
function cut(plan: Plan, which: (ticket: Ticket) => boolean, edges: Partial<Ticket>): Plan {
  return { ...plan, tickets: plan.tickets.map((ticket) => (which(ticket) ? { ...ticket, ...edges } : ticket)) };
}

describe('null device', () => {
  const input = problem(6, 60, 400);
  const plan = planStep(input);
  const run = (broken: Plan) => simulate(unroll(broken, input.trace, layout, 4), machine);

  it('runs a plan over all three tiers', () => {
    expect(new Set(plan.chunks.map((chunk) => chunk.stateHome))).toEqual(new Set(['gpu', 'host', 'nvme']));
    const simulation = run(plan);
    const stalls = Object.values(simulation.stallSeconds).reduce((sum, seconds) => sum + seconds, 0);
    expect(simulation.stepSeconds).toBeCloseTo(simulation.computeSeconds + stalls, 9);
    for (const tier of ['gpu', 'host', 'nvme'] as const)
      expect(simulation.peakBytes[tier]).toBeLessThanOrEqual(input.budgets[tier]);
  });

  it.each<[string, (ticket: Ticket) => boolean, Partial<Ticket>, RegExp]>([
    [
      'fetches that do not wait for their slot',
      (t) => t.cause === 'fetch' && t.lane === 'toDevice',
      { after: [], afterPrevious: [], afterMoment: -1, afterPreviousMoment: -1 },
      /needs|while it is being/,
    ],
    [
      'gradients sent before they exist',
      (t) => t.cause === 'gradient',
      { afterMoment: -1, afterPreviousMoment: -1 },
      /gradient ticket/,
    ],
    ['updates without their gradient', (t) => t.cause === 'update', { after: [] }, /update ticket/],
    [
      'states written before they are updated',
      (t) => t.cause === 'state' && t.lane === 'write',
      { after: [] },
      /state ticket/,
    ],
    [
      'states read before they are written',
      (t) => t.cause === 'state' && t.lane === 'read',
      { after: [], afterPrevious: [] },
      /state ticket|while it is being/,
    ],
  ])('notices %s', (_, which, edges, message) => {
    expect(plan.tickets.some(which)).toBe(true);
    expect(() => run(cut(plan, which, edges))).toThrow(message);
  });

  it('notices a moment that does not wait, a lost gradient, and a deadlock', () => {
    const hasty = { ...plan, moments: plan.moments.map((moment) => ({ ...moment, waits: [], waitsPrevious: [] })) };
    expect(() => run(hasty)).toThrow(/(forward|backward) moment of step \d/);
    const update = plan.tickets.find(
      (ticket) => ticket.cause === 'update' && ticket.stateTo?.slot === ticket.from.slot,
    )!;
    const circular = cut(plan, (ticket) => ticket.id === update.id, { after: [...update.after, update.id] });
    expect(() => run(circular)).toThrow(/deadlock/);
    const moments = plan.moments.map((moment) => ({ ...moment, gradients: moment.gradients.slice(1) }));
    expect(() => run({ ...plan, moments })).toThrow(/null device/);
  });

  it('plans the same twice, as plain JSON', () => {
    const text = JSON.stringify(planStep(problem(6, 60, 400)));
    expect(text).toBe(JSON.stringify(plan));
    expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(plan)));
    expect(() => simulate(unroll(JSON.parse(text) as Plan, input.trace, layout, 3), machine)).not.toThrow();
  });

  it('has nothing to move when everything fits', () => {
    const whole = planStep(problem(600, 1, 0));
    expect(whole.tickets).toEqual([]);
    expect(whole.forecast.stallSeconds).toEqual({});
    expect(whole.chunks.every((chunk) => chunk.update === 'device')).toBe(true);
  });
});
