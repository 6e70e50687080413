/** Every generator over many shapes: what is generated can be run, and costs what the literature says. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  buildSchedule,
  closedFormBubble,
  isTransfer,
  label,
  type ScheduleCosts,
  type ScheduleName,
  scheduleNames,
  simulate,
  unitCosts,
} from '../../../src/dist/pipeline/schedule/index.ts';

const shapes = fc.record({
  schedule: fc.constantFrom<ScheduleName>(...scheduleNames),
  ranks: fc.integer({ min: 1, max: 8 }),
  groups: fc.integer({ min: 1, max: 24 }),
  chunks: fc.integer({ min: 2, max: 4 }),
});

/** Interleaving wants whole groups of micro-batches; the others take any number. */
const build = ({ schedule, ranks, groups, chunks }: typeof shapes extends fc.Arbitrary<infer T> ? T : never) =>
  buildSchedule(
    schedule === 'interleaved'
      ? { schedule, ranks, microBatches: ranks * (1 + (groups % 4)), chunks }
      : { schedule, ranks, microBatches: groups },
  );

describe('generated schedules', () => {
  it('never deadlock, keep dependencies and stay within their memory, for any shape', () => {
    fc.assert(
      fc.property(shapes, (shape) => {
        const schedule = build(shape); // checks itself
        expect(schedule.actions).toHaveLength(shape.ranks);
      }),
      { numRuns: 120 },
    );
  }, 120_000);

  it('compute every stage of every micro-batch once, whatever the costs', () => {
    const costs = fc.record({
      forward: fc.integer({ min: 1, max: 5 }),
      backwardInput: fc.integer({ min: 1, max: 5 }),
      backwardWeight: fc.integer({ min: 1, max: 5 }),
      transfer: fc.integer({ min: 0, max: 5 }),
    });
    fc.assert(
      fc.property(shapes, costs, (shape, cost) => {
        const schedule = build(shape);
        for (const model of ['buffered', 'rendezvous'] as const) {
          const { ranks, bubble } = simulate(schedule, cost, model);
          const perMicroBatch = cost.forward + cost.backwardInput + cost.backwardWeight;
          for (const { busy } of ranks) expect(busy).toBe(schedule.microBatches * schedule.chunks * perMicroBatch);
          expect(bubble).toBeGreaterThanOrEqual(-1e-12);
        }
      }),
      { numRuns: 60 },
    );
  }, 120_000);

  it.each(['gpipe', '1f1b', 'interleaved', 'zb-h1'] as const)(
    '%s: the bubble is the closed form',
    (name) => {
      for (const ranks of [1, 2, 3, 4, 8]) {
        for (const microBatches of [ranks, 2 * ranks, 5 * ranks]) {
          for (const chunks of name === 'interleaved' ? [2, 3, 4] : [1]) {
            for (const costs of costsFor(name)) {
              const { bubble } = simulate(buildSchedule({ schedule: name, ranks, microBatches, chunks }), costs);
              const formula = closedFormBubble({ schedule: name, ranks, microBatches, chunks, costs });
              expect(bubble, `${name} P=${ranks} m=${microBatches} v=${chunks}`).toBeCloseTo(formula!, 12);
            }
          }
        }
      }
    },
    60_000,
  );

  it('1F1B and GPipe have the same bubble for any number of micro-batches', () => {
    for (let microBatches = 1; microBatches < 10; microBatches++) {
      const [one, all] = (['1f1b', 'gpipe'] as const).map(
        (schedule) => simulate(buildSchedule({ schedule, ranks: 4, microBatches })).bubble,
      );
      expect(one).toBeCloseTo(all!, 12);
      expect(one).toBeCloseTo(3 / (microBatches + 3), 12);
    }
  });

  it('memory: 1F1B keeps P - r micro-batches, ZB-H1 and ZBV as much as the first rank of 1F1B', () => {
    const peaks = (schedule: ScheduleName) =>
      simulate(buildSchedule({ schedule, ranks: 4, microBatches: 12 })).ranks.map(({ peakInFlight }) => peakInFlight);
    expect(peaks('1f1b')).toEqual([4, 3, 2, 1]);
    expect(peaks('zb-h1')).toEqual([4, 4, 4, 4]);
    expect(peaks('zbv')).toEqual([8, 8, 8, 8]); // stages of half the size
    expect(peaks('gpipe')).toEqual([12, 12, 12, 12]);
    expect(peaks('interleaved')).toEqual([11, 9, 7, 5]); // 2(P-r-1) + (v-1)P + 1, of stages of half the size
  });

  it('ZBV idles less than ZB-H1, and hardly at all between its own ends', () => {
    for (const ranks of [2, 3, 4, 8]) {
      const microBatches = 3 * ranks;
      const zbv = simulate(buildSchedule({ schedule: 'zbv', ranks, microBatches }));
      const h1 = simulate(buildSchedule({ schedule: 'zb-h1', ranks, microBatches }));
      expect(zbv.bubble).toBeLessThan(h1.bubble);
      expect(zbv.innerBubble).toBeLessThan(0.05);
      // No schedule can end before the last rank, which starts P - 1 late, has done its work.
      expect(zbv.makespan).toBeGreaterThanOrEqual(6 * microBatches + ranks - 1);
      expect(zbv.makespan).toBeLessThanOrEqual(6 * microBatches + ranks + 2);
    }
  });

  it('ZBV under a memory limit keeps it and still ends', () => {
    for (const inFlight of [2, 3, 5]) {
      const schedule = buildSchedule({ schedule: 'zbv', ranks: 3, microBatches: 7, inFlight });
      for (const { peakInFlight } of simulate(schedule).ranks) expect(peakInFlight).toBeLessThanOrEqual(inFlight);
    }
    const costs = { forward: 2, backwardInput: 3, backwardWeight: 1, transfer: 1 };
    const shape = { schedule: 'zbv', ranks: 4, microBatches: 12 } as const;
    const fitted = simulate(buildSchedule({ ...shape, costs }), costs);
    expect(fitted.makespan).toBeLessThan(simulate(buildSchedule(shape), costs).makespan);
  });

  it('the V keeps what the last rank hands to itself at home', () => {
    const { actions, ranks } = buildSchedule({ schedule: 'zbv', ranks: 3, microBatches: 2 });
    const sent = actions.flat().filter((action) => isTransfer(action) && action.kind === 'send');
    // 6 stages have 5 edges; the one in the middle lies on one rank.
    expect(sent).toHaveLength(4 * 2 * 2);
    expect(actions[0]!.filter((action) => !isTransfer(action)).map(label)).toContain('F5.0');
    expect(ranks).toBe(3);
  });
});

describe('numbers that do not go together', () => {
  it('interleaving needs whole groups of micro-batches, and says the equation', () => {
    expect(() => buildSchedule({ schedule: 'interleaved', ranks: 4, microBatches: 6 })).toThrow(
      'train.accumulate % parallel.pp must be 0, and 6 % 4 = 2',
    );
  });

  it('stages per rank fit the schedule', () => {
    expect(() => buildSchedule({ schedule: '1f1b', ranks: 2, microBatches: 4, chunks: 2 })).toThrow(
      '1f1b has one stage',
    );
    expect(() => buildSchedule({ schedule: 'interleaved', ranks: 2, microBatches: 4, chunks: 1 })).toThrow(
      'at least 2',
    );
    expect(() => buildSchedule({ schedule: 'zbv', ranks: 2, microBatches: 4, inFlight: 1 })).toThrow('the limit is 1');
    expect(() => buildSchedule({ schedule: 'gpipe', ranks: 0, microBatches: 4 })).toThrow('parallel.pp must be');
  });
});

function costsFor(name: ScheduleName): readonly ScheduleCosts[] {
  if (name === 'zb-h1') return [unitCosts];
  return [unitCosts, { forward: 2, backwardInput: 1, backwardWeight: 3, transfer: 0 }];
}
