/** Budgets are kept at every step, nothing is allocated after the second, and checkpoints go from any placement to any other. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadCheckpoint } from '../../src/engine/loading.ts';
import { saveCheckpoint } from '../../src/engine/saving.ts';
import { native } from '../../src/native/load.ts';
import { type MemoryInput, type ModelBytes, placementNamed, placementsFor } from '../cases/placements.ts';
import { built, faultScenario } from './tiersFaultRuns.ts';
import {
  batchOf,
  drop,
  hashesOf,
  measure,
  planOf,
  type Scenario,
  scenario,
  start,
  trainStep,
  trainSteps,
  withFolder,
} from './tiersSupport.ts';

describe('budgets', () => {
  const summed = scenario('two micro-batches', { train: { accumulate: 2, clipNorm: 1 } });
  let bytes: ModelBytes;
  beforeAll(() => {
    bytes = measure(summed);
  });

  it.each(placementsFor(2, true))('are kept, and nothing is allocated after the second step: $name', (placement) => {
    withFolder((folder) => {
      const engine = start(summed, placement.memory(bytes, folder));
      try {
        const arenas = new Set<number>();
        const blocks = new Set<number>();
        for (let step = 1; step <= 6; step++) {
          trainStep(engine);
          for (const { tier, usedBytes, budgetBytes } of engine.store.use()) {
            expect(usedBytes, `${tier} in step ${step}`).toBeLessThanOrEqual(budgetBytes);
          }
          const { systemAllocations, reservedBytes } = native().memoryStats('cpu');
          const gpu = engine.store.use().find(({ tier }) => tier === 'gpu')!;
          expect(planOf(engine).arenaBytes.gpu + reservedBytes).toBeLessThanOrEqual(gpu.budgetBytes);
          if (step < 2) continue;
          arenas.add(native().allocationCount());
          blocks.add(systemAllocations);
        }
        expect(arenas.size).toBe(1);
        expect(blocks.size).toBe(1);
      } finally {
        engine.dispose();
      }
    });
  });

  it('libtorch cannot take more than its share', () => {
    const engine = start(summed, placementNamed('tight GPU').memory(bytes, ''));
    try {
      trainStep(engine);
      const left = engine.store.use().find(({ tier }) => tier === 'gpu')!;
      const before = native().memoryStats('cpu').allocatedBytes;
      expect(() => native().fromBytes(new Uint8Array(left.budgetBytes), [left.budgetBytes], 0)).toThrow(/allowed/);
      expect(native().memoryStats('cpu').allocatedBytes).toBe(before);
      trainStep(engine);
    } finally {
      engine.dispose();
    }
  });
});

describe('a checkpoint of one placement, continued in another', () => {
  // Saves that training waits for; `checkpointPairs.test.ts` has those behind it, and every placement with three others.
  const pairs = [
    ['resident', 'parameters and states mostly on disk'],
    ['parameters and states mostly on disk', 'tight GPU and CPU'],
    ['tight GPU and CPU', 'resident'],
  ] as const;
  const plain = faultScenario();
  let bytes: ModelBytes;
  let expected: unknown;
  beforeAll(() => {
    bytes = measure(plain);
    const whole = start(faultScenario(), {});
    trainSteps(whole, 2);
    expected = [trainSteps(whole, 2), hashesOf(whole)];
    whole.dispose();
  });

  const memoryOf = (name: string, folder: string): MemoryInput =>
    name === 'resident' ? {} : placementNamed(name).memory(bytes, folder);
  const startIn = (name: string, folder: string, output: string) => {
    const model = built();
    const base = faultScenario(model);
    const withOutput: Scenario = { ...base, config: { ...base.config, train: { ...base.config.train, output } } };
    const engine = start(withOutput, memoryOf(name, folder));
    const batch = batchOf(0);
    engine.prepare(batch);
    drop(batch);
    return { engine, model };
  };

  it.each(pairs)('%s, then %s', async (from, to) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'tierra-tiers-'));
    try {
      const first = startIn(from, path.join(folder, 'swap'), folder);
      trainSteps(first.engine, 2);
      const { config } = first.engine.context;
      const saved = await saveCheckpoint(first.engine, { built: first.model, config, totalSteps: 20 }, {} as never);
      first.engine.dispose();
      const second = startIn(to, path.join(folder, 'swap'), folder);
      loadCheckpoint(second.engine, saved.path, second.model);
      expect([trainSteps(second.engine, 2), hashesOf(second.engine)]).toEqual(expected);
      second.engine.dispose();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
