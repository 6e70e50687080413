/** Schedules from outside the package are made whole and checked like any other. */
import { expect, it } from 'vitest';
import { eager } from '../../../examples/05-own-parallel-mode/eagerSchedule.ts';
import {
  buildSchedule,
  isTransfer,
  type ScheduleMaker,
  simulate,
  unitCosts,
} from '../../../src/dist/pipeline/index.ts';

it('the example’s keeps its bounds, and its bubble is that of 1f1b', () => {
  for (const ranks of [1, 2, 3, 4]) {
    for (const microBatches of [1, 2, 5, 8]) {
      const own = buildSchedule({ schedule: eager, ranks, microBatches });
      const plain = buildSchedule({ schedule: '1f1b', ranks, microBatches });
      const seconds = [own, plain].map((schedule) => simulate(schedule, unitCosts, 'buffered').makespan);
      expect(seconds[0]).toBe(seconds[1]);
      expect(own.actions.flat().filter(isTransfer)).toHaveLength(4 * (ranks - 1) * microBatches);
    }
  }
});

it('one that is wrong is refused before anything runs', () => {
  const made = (change: (order: ReturnType<ScheduleMaker>) => object): (() => unknown) => {
    const schedule: ScheduleMaker = (...given) => ({ ...eager(...given), ...change(eager(...given)) });
    return () => buildSchedule({ schedule, ranks: 3, microBatches: 4 });
  };
  expect(made(({ inFlightBound }) => ({ inFlightBound: inFlightBound.map((bound) => bound - 1) }))).toThrow(
    /the eager 1f1b schedule .* is wrong: rank 0 keeps 4 activations alive, its bound is 3/,
  );
  expect(made(({ order }) => ({ order: order.map((actions) => actions.slice(1)) }))).toThrow(
    /the eager 1f1b schedule cannot go on/,
  );
  expect(made(({ order }) => ({ order: order.slice(1) }))).toThrow('3 ranks and 4 micro-batches with 2 lists');
});
