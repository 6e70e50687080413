import { describe, expect, it } from 'vitest';
import { type Layout, layOut, Tracer } from '../../../src/memory/index.ts';

const layout: Layout = layOut([
  { id: 0, name: 'wte', unit: 0, elements: 64, trainable: true, group: 0 },
  { id: 1, name: 'block', unit: 1, elements: 64, trainable: true, group: 0 },
  { id: 2, name: 'head', unit: 2, elements: 64, tiedTo: 0, trainable: true, group: 0 },
]);

const options = { layout, mode: 'training', accumulation: 'horizontal', microBatches: 1, course: [8, 128] } as const;

function record(tracer: Tracer, units: readonly number[]): Tracer {
  for (const unit of units) {
    tracer.enter('forward', unit, 0);
    tracer.leave({ seconds: 0.5, nonModelBytes: 10 * unit });
  }
  return tracer;
}

describe('tracer', () => {
  it('numbers the moments and knows which chunks each one uses', () => {
    const { moments } = record(new Tracer(options), [0, 1, 2]).finish();
    expect(moments.map(({ index, unit, chunks, nonModelBytes }) => [index, unit, chunks, nonModelBytes])).toEqual([
      [0, 0, [0], 0],
      [1, 1, [1], 10],
      [2, 2, [0], 20],
    ]);
  });

  it('gives another signature to another course', () => {
    const signature = (course: unknown, units: readonly number[]): string =>
      record(new Tracer({ ...options, course }), units).finish().signature;
    const same = signature([8, 128], [0, 1, 2]);
    expect(signature([8, 128], [0, 1, 2])).toBe(same);
    expect(signature([8, 64], [0, 1, 2])).not.toBe(same);
    expect(signature([8, 128], [0, 2, 1])).not.toBe(same);
  });

  it('refuses moments inside moments', () => {
    const tracer = new Tracer(options);
    tracer.enter('forward', 0, 0);
    expect(() => tracer.enter('forward', 1, 0)).toThrow(/forward of unit 1 begins inside forward of unit 0/);
    expect(() => tracer.finish()).toThrow(/ends inside/);
  });
});
