import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  constant,
  cosine,
  linear,
  oneCycle,
  polynomial,
  type Schedule,
  scheduleFrom,
} from '../../../src/optim/index.ts';

interface Golden {
  readonly name: string;
  readonly options: { totalSteps: number; warmupSteps: number; minRateFraction: number; power?: number };
  readonly factors: readonly number[];
}
/** Made by test/goldens/optim/schedules.py with torch.optim.lr_scheduler. */
const goldens = JSON.parse(readFileSync(new URL('../../goldens/optim/schedules.json', import.meta.url), 'utf8'))
  .cases as Golden[];

const makers: Record<string, (options: Golden['options']) => Schedule> = {
  cosine,
  linear,
  polynomial,
  onecycle: oneCycle,
};

describe('against torch.optim.lr_scheduler', () => {
  it.each(goldens.map((golden) => ({ ...golden, title: `${golden.name} ${JSON.stringify(golden.options)}` })))(
    '$title',
    ({ name, options, factors }) => {
      const schedule = makers[name]!(options);
      factors.forEach((factor, step) => {
        expect(schedule.rateAt(step)).toBeCloseTo(factor, 12);
      });
    },
  );

  it('covers every decaying shape', () => {
    expect(new Set(goldens.map(({ name }) => name))).toEqual(new Set(Object.keys(makers)));
  });
});

describe('against closed forms', () => {
  const total = 50;
  const warmup = 10;
  const least = 0.2;
  const options = { totalSteps: total, warmupSteps: warmup, minRateFraction: least };
  const late = Array.from({ length: 41 }, (_, i) => warmup + i);

  it('cosine is the square of a half-angle cosine', () => {
    for (const step of late) {
      const angle = (Math.PI * (step - warmup)) / (2 * (total - warmup));
      expect(cosine(options).rateAt(step)).toBeCloseTo(least + 0.8 * Math.cos(angle) ** 2, 12);
    }
  });

  it('linear falls by the same amount each step', () => {
    for (const step of late) expect(linear(options).rateAt(step)).toBeCloseTo(1 - 0.02 * (step - warmup), 12);
  });

  it('polynomial of power 2 is the square of what is left', () => {
    const schedule = polynomial({ ...options, power: 2 });
    for (const step of late) expect(schedule.rateAt(step)).toBeCloseTo(least + (0.8 * (total - step) ** 2) / 1600, 12);
  });

  it('one cycle passes through start, peak, the middle of its fall and end', () => {
    const schedule = oneCycle({ totalSteps: 101, warmupSteps: 21, startFraction: 0.1, minRateFraction: 0.02 });
    expect(schedule.rateAt(0)).toBeCloseTo(0.1, 12);
    expect(schedule.rateAt(10)).toBeCloseTo(0.55, 12);
    expect(schedule.rateAt(20)).toBe(1);
    expect(schedule.rateAt(60)).toBeCloseTo(0.51, 12);
    expect(schedule.rateAt(100)).toBeCloseTo(0.02, 12);
    expect(schedule.rateAt(1000)).toBeCloseTo(0.02, 12);
  });

  it('constant stays at the peak', () => {
    expect([0, 1, 1e9].map((step) => constant().rateAt(step))).toEqual([1, 1, 1]);
  });
});

describe('every shape', () => {
  const warmed = { warmupSteps: 4, totalSteps: 20, minRateFraction: 0.1 };
  const shapes: Schedule[] = [constant(warmed), linear(warmed), cosine(warmed), polynomial({ ...warmed, power: 3 })];

  it.each(shapes.map((shape) => [shape.name, shape] as const))('%s warms up in equal steps to the peak', (_, shape) => {
    expect([0, 1, 2, 3].map((step) => shape.rateAt(step))).toEqual(
      [0.2, 0.4, 0.6000000000000001, 0.8].map((x) => expect.closeTo(x, 12)),
    );
    expect(shape.rateAt(4)).toBe(1);
  });

  it.each(shapes.slice(1).map((shape) => [shape.name, shape] as const))('%s keeps its minimum', (_, shape) => {
    expect(shape.rateAt(20)).toBeCloseTo(0.1, 14);
    expect(shape.rateAt(10_000)).toBeCloseTo(0.1, 14);
  });

  it('takes another start of the warm-up', () => {
    expect(linear({ ...warmed, warmupFrom: 0 }).rateAt(0)).toBe(0);
    expect(linear({ ...warmed, warmupFrom: 0 }).rateAt(2)).toBe(0.5);
  });

  it('survives a run that is all warm-up, or empty', () => {
    for (const totalSteps of [0, 1, 5]) {
      for (const make of [linear, cosine, polynomial, oneCycle]) {
        const schedule = make({ totalSteps, warmupSteps: totalSteps });
        for (let step = 0; step <= totalSteps; step++)
          expect(schedule.rateAt(step)).toSatisfy((x: number) => x >= 0 && x <= 1);
      }
    }
  });

  it('refuses what makes no sense', () => {
    expect(() => cosine({ totalSteps: 5, warmupSteps: 6 })).toThrow('warmupSteps 6 exceeds totalSteps 5');
    expect(() => linear({ totalSteps: 5.5 })).toThrow('totalSteps must be a whole number');
    expect(() => cosine({ totalSteps: 5, minRateFraction: 1.5 })).toThrow('between 0 and 1');
    expect(() => polynomial({ totalSteps: 5, power: 0 })).toThrow('power must be > 0');
    expect(() => oneCycle({ totalSteps: 5, warmupSteps: 9 })).toThrow('exceeds');
  });
});

describe('scheduleFrom', () => {
  const settings = { name: 'cosine', warmupSteps: null, warmupFraction: null, minRateFraction: 0.1, power: 1 } as const;

  it('makes the named shape', () => {
    for (const name of ['cosine', 'linear', 'constant', 'polynomial', 'onecycle'] as const) {
      expect(scheduleFrom({ ...settings, name }, 10).name).toBe(name);
    }
  });

  it('turns a warm-up fraction into steps', () => {
    const schedule = scheduleFrom({ ...settings, warmupFraction: 0.25 }, 40);
    expect(schedule.rateAt(9)).toBeLessThan(1);
    expect(schedule.rateAt(10)).toBe(1);
    expect(schedule.rateAt(11)).toBeLessThan(1);
  });

  it('refuses both kinds of warm-up', () => {
    expect(() => scheduleFrom({ ...settings, warmupSteps: 1, warmupFraction: 0.1 }, 40)).toThrow('not both');
  });
});
