/** What interrupts a course of steps leaves the same numbers wherever chunks live. */
import { beforeAll, describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { type ModelBytes, placementNamed, placementsFor } from '../cases/placements.ts';
import {
  type AnyEngine,
  beginStep,
  evaluate,
  hashesOf,
  inFp32,
  measure,
  record,
  recordPlaced,
  type StepRecord,
  scenario,
  start,
  trainStep,
  trainSteps,
  withFolder,
} from './tiersSupport.ts';

const plain = scenario('interruptions', { train: { clipNorm: 1 } });
const summed = scenario('interruptions, two micro-batches', { train: { accumulate: 2, clipNorm: 1 } });

/** Infinite and NaN gradients are skipped, and the run goes on. */
const nonFinite = (engine: AnyEngine): unknown => [
  ...trainSteps(engine, 2),
  trainStep(engine, Number.NaN),
  hashesOf(engine),
  trainStep(engine, Number.POSITIVE_INFINITY),
  trainStep(engine, Number.NaN),
  ...trainSteps(engine, 2),
];
/** Steps that are begun and dropped, before the first, in the middle and twice in a row. */
const abandoned = (engine: AnyEngine): unknown => {
  beginStep(engine);
  engine.cancelStep();
  const first = trainSteps(engine, 2);
  beginStep(engine);
  engine.zeroGrad();
  const between = hashesOf(engine);
  beginStep(engine);
  engine.cancelStep();
  const second = trainStep(engine);
  beginStep(engine);
  return [first, between, second, trainSteps(engine, 2)];
};
const untouched = (engine: AnyEngine): unknown => {
  const first = trainSteps(engine, 2);
  const between = hashesOf(engine);
  return [first, between, trainStep(engine), trainSteps(engine, 2)];
};
/** Losses in eval mode between steps. */
const evaluated = (engine: AnyEngine): unknown => [
  ...trainSteps(engine, 1),
  evaluate(engine, 7),
  evaluate(engine, 8),
  ...trainSteps(engine, 2),
  evaluate(engine, 7),
  ...trainSteps(engine, 1),
  evaluate(engine, 9),
];

for (const scenario of [plain, summed]) {
  describe(scenario.name, () => {
    const accumulate = scenario.config.train?.accumulate ?? 1;
    let bytes: ModelBytes;
    beforeAll(() => {
      bytes = measure(scenario);
    });

    it.each(placementsFor(1, true))('gradients that are no numbers change nothing: $name', (placement) => {
      const resident = record(scenario, {}, nonFinite);
      const [before, , skipped, hashes] = resident.seen as [StepRecord, StepRecord, StepRecord, unknown];
      expect(before.nonFinite).toBeNull();
      expect(skipped.nonFinite).not.toBeNull();
      expect(Object.keys(hashes as object).length).toBeGreaterThan(10);
      withFolder((folder) => {
        const placed = recordPlaced(scenario, placement, bytes, folder, nonFinite);
        expect(placed.seen).toEqual(resident.seen);
        expect(placed.hashes).toEqual(resident.hashes);
      });
    });

    it.each(placementsFor(accumulate, true))('a step that is dropped leaves no trace: $name', (placement) => {
      const resident = record(scenario, {}, untouched);
      withFolder((folder) => {
        const placed = recordPlaced(scenario, placement, bytes, folder, abandoned);
        expect(placed.seen).toEqual(resident.seen);
        expect(placed.hashes).toEqual(resident.hashes);
      });
    });

    it.each(placementsFor(accumulate, true))('an engine given up in a step leaves nothing: $name', (placement) => {
      withFolder((folder) => {
        const live = () => ({ tensors: native().liveTensors(), arenas: native().liveArenas() });
        const before = live();
        const engine = start(scenario, placement.memory(bytes, folder));
        trainSteps(engine, 1);
        beginStep(engine);
        engine.dispose();
        expect(live()).toEqual(before);
      });
    });

    it.each(placementsFor(accumulate, true))('evaluation between steps: $name', (placement) => {
      const resident = record(scenario, {}, evaluated);
      withFolder((folder) => {
        const placed = recordPlaced(scenario, placement, bytes, folder, evaluated);
        expect(placed.seen).toEqual(resident.seen);
        expect(placed.hashes).toEqual(resident.hashes);
      });
    });
  });
}

describe('compressed states', () => {
  // Values in fp32, so that weights are rounded from the start: dropped steps bring back exactly those.
  const scenarioOf = (accumulate: number) =>
    scenario(
      'interruptions, compressed states',
      { precision: 'bf16', optimizer: { states: 'compressed' }, train: { accumulate, clipNorm: 1 } },
      { chunkSize: 16 * 1024, values: inFp32 },
    );
  const named = ['chunks, all on the GPU', 'tight GPU', 'tight GPU and CPU', 'states on disk'].map(placementNamed);

  it.each(named)('bad gradients and dropped steps change nothing: $name', (placement) => {
    const compressed = scenarioOf(placement.name === 'states on disk' ? 2 : 1);
    const bytes = measure(compressed);
    const course = (engine: AnyEngine): unknown => [nonFinite(engine), abandoned(engine)];
    const resident = record(compressed, {}, course);
    withFolder((folder) => {
      const placed = recordPlaced(compressed, placement, bytes, folder, course);
      expect(placed.seen).toEqual(resident.seen);
      expect(placed.hashes).toEqual(resident.hashes);
    });
  });
});
