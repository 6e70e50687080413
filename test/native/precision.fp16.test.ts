/** Training in fp16: the loss scale moves as its table says, and no overflow leaves a trace, wherever chunks live. */
import { beforeAll, describe, expect, it } from 'vitest';
import { type ModelBytes, placementsFor } from '../cases/placements.ts';
import {
  type AnyEngine,
  gpt,
  hashesOf,
  measure,
  record,
  recordPlaced,
  scenario,
  start,
  trainStep,
  withFolder,
} from './tiersSupport.ts';

const lossScale = { growthInterval: 3 };
const fp16 = (accumulate: number) =>
  scenario(
    `fp16, ${accumulate} micro-batches`,
    { precision: 'fp16', lossScale, train: { accumulate, clipNorm: 3 } },
    { chunkSize: 16 * 1024 },
  );

/** Whether the step's gradients are made infinite, and the scale it must be computed with: worked out by hand. */
const course: readonly (readonly [overflow: boolean, scale: number])[] = [
  [false, 4096],
  [false, 4096],
  [false, 4096],
  [true, 8192],
  [true, 8192],
  [false, 4096],
  [true, 4096],
  [false, 2048],
  [false, 2048],
  [false, 2048],
  [true, 4096],
  [false, 4096],
];

const scaled = (accumulate: number) => {
  const plain = fp16(accumulate);
  return { ...plain, config: { ...plain.config, lossScale: { ...lossScale, initial: 4096 } } };
};

interface Seen {
  readonly scale: number;
  readonly overflow: boolean;
  readonly clipped: boolean;
  readonly loss: readonly number[];
  readonly norm: number;
  readonly state: string;
}

const follow = (engine: AnyEngine): Seen[] =>
  course.map(([overflow]) => {
    const { losses, norm, clipFactor, nonFinite, lossScale } = trainStep(engine, overflow ? Infinity : 1);
    return {
      scale: lossScale,
      overflow: nonFinite !== null,
      clipped: clipFactor < 1,
      loss: losses,
      norm,
      state: JSON.stringify(hashesOf(engine)),
    };
  });

describe('a course with forced overflows', () => {
  it('has the scales of the table, and an overflow changes nothing', () => {
    const seen = record(scaled(1), {}, follow).seen as Seen[];
    expect(seen.map(({ overflow, scale }) => [overflow, scale])).toEqual(course);
    const unchanged = seen.map(({ state }, index) => state === seen[index - 1]?.state);
    expect(unchanged).toEqual(course.map(([overflow]) => overflow));
    expect(new Set(seen.filter(({ overflow }) => !overflow).map(({ clipped }) => clipped)).size).toBe(2);
  });

  it('makes the updates of a run that never saw the overflows', () => {
    // No schedule and no dropout: the learning rate and random keys follow the step, and skipped steps are steps.
    const plain = scaled(1);
    const config = { ...plain.config, schedule: { name: 'constant' as const, warmupSteps: 0 } };
    const still = { ...plain, model: () => gpt(0), config: { ...config, lossScale: { constant: 1024 } } };
    const train = (events: readonly boolean[]): string[] =>
      record(still, {}, (engine) =>
        events.map((overflow) => {
          trainStep(engine, overflow ? Infinity : 1, 0);
          return JSON.stringify(hashesOf(engine));
        }),
      ).seen as string[];
    const clean = train([false, false, false]);
    const interrupted = train([false, true, false, true, true, false]);
    expect([interrupted[0] === clean[0], interrupted[2] === clean[1], interrupted[5] === clean[2]]).toEqual([
      true,
      true,
      true,
    ]);
  });
});

describe.each([1, 3])('%i micro-batches', (accumulate) => {
  const plain = scaled(accumulate);
  let bytes: ModelBytes;
  let resident: ReturnType<typeof record>;
  beforeAll(() => {
    bytes = measure(plain);
    resident = record(plain, {}, follow);
  }, 120_000);

  // The vertical order returns the model's own losses, which no test can make infinite.
  it.each(placementsFor(1, true))('the same bits: $name', (placement) => {
    withFolder((folder) => {
      const { seen, hashes } = recordPlaced(plain, placement, bytes, folder, follow);
      expect(seen).toEqual(resident.seen);
      expect(hashes).toEqual(resident.hashes);
    });
  });
});

describe('a real overflow', () => {
  it('is mended by a smaller scale', () => {
    const plain = fp16(1);
    const config = { ...plain.config, lossScale: { initial: 2 ** 30, hysteresis: 1 } };
    const engine = start({ ...plain, config }, {});
    const steps = Array.from({ length: 30 }, () => trainStep(engine));
    engine.dispose();
    const overflows = steps.filter(({ nonFinite }) => nonFinite !== null).length;
    expect(overflows).toBeGreaterThan(3);
    expect(steps.slice(0, overflows).every(({ overflow }) => overflow)).toBe(true);
    expect(steps.slice(overflows).every(({ nonFinite }) => nonFinite === null)).toBe(true);
    expect(steps.at(-1)!.lossScale).toBe(2 ** (30 - overflows));
  });
});
