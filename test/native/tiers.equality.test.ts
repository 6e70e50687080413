/** One model, one seed: losses, norms and every bit of the final state are the same wherever chunks live. */
import { beforeAll, describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/index.ts';
import { Llama } from '../../src/models/index.ts';
import { tinyLlama, tinyMixture } from '../cases/models.ts';
import type { ModelBytes } from '../cases/placements.ts';
import { placementNamed, placementsFor, updatesBy } from '../cases/placements.ts';
import {
  inFp32,
  measure,
  record,
  recordPlaced,
  type Scenario,
  type StepRecord,
  scenario,
  Twice,
  withFolder,
} from './tiersSupport.ts';

const compressed = (precision: 'bf16' | 'fp32'): ConfigInput => ({ precision, optimizer: { states: 'compressed' } });

const scenarios: readonly Scenario[] = [
  scenario('fp32', {}),
  scenario('fp32, three micro-batches', { train: { accumulate: 3 } }),
  scenario('fp64', { precision: 'fp64' }, { chunkSize: 64 * 1024 }),
  scenario('fp64, three micro-batches', { precision: 'fp64', train: { accumulate: 3 } }, { chunkSize: 64 * 1024 }),
  scenario('bf16', { precision: 'bf16' }, { chunkSize: 16 * 1024 }),
  scenario('bf16, three micro-batches', { precision: 'bf16', train: { accumulate: 3 } }, { chunkSize: 16 * 1024 }),
  scenario('fp16', { precision: 'fp16' }, { chunkSize: 16 * 1024 }),
  scenario('fp16, three micro-batches', { precision: 'fp16', train: { accumulate: 3 } }, { chunkSize: 16 * 1024 }),
  scenario('bf16 from fp32 values', { precision: 'bf16' }, { chunkSize: 16 * 1024, values: inFp32 }),
  scenario('fp16 from fp32 values', { precision: 'fp16' }, { chunkSize: 16 * 1024, values: inFp32 }),
  scenario('compressed states in bf16', compressed('bf16'), { chunkSize: 16 * 1024 }),
  scenario('compressed states in fp32, three micro-batches', { ...compressed('fp32'), train: { accumulate: 3 } }),
  scenario('compressed states from fp32 values', compressed('bf16'), { chunkSize: 16 * 1024, values: inFp32 }),
  scenario(
    'compressed states, a unit used twice',
    { ...compressed('bf16'), train: { accumulate: 2 } },
    { model: () => new Twice(), chunkSize: 8 * 1024 },
  ),
  scenario('SGD with momentum', { optimizer: { name: 'sgd', learningRate: 0.05 } }),
  scenario('Lion', { optimizer: { name: 'lion', learningRate: 1e-3 } }),
  scenario('recomputed activations', { memory: { activations: 'recompute' } }),
  scenario(
    'mixtures of experts',
    { train: { accumulate: 2 }, memory: { activations: 'recompute' } },
    { model: () => new Llama(tinyLlama({ mixture: tinyMixture, intermediate_size: 16 })) },
  ),
  scenario('a unit used twice', {}, { model: () => new Twice(), chunkSize: 16 * 1024 }),
  scenario(
    'a unit used twice, three micro-batches',
    { train: { accumulate: 3 } },
    { model: () => new Twice(), chunkSize: 16 * 1024 },
  ),
];

/** The scenario with a clip norm between the norms of its steps, so that some are clipped and some are not. */
function clippedSometimes(scenario: Scenario): Scenario {
  const free = { ...scenario, config: { ...scenario.config, train: { ...scenario.config.train, clipNorm: null } } };
  const norms = (record(free, {}).seen as StepRecord[]).map(({ norm }) => norm).sort((a, b) => a - b);
  const clipNorm = (norms[2]! + norms[3]!) / 2;
  return { ...scenario, config: { ...scenario.config, train: { ...scenario.config.train, clipNorm } } };
}

describe.each(scenarios)('$name', (plain) => {
  let scenario: Scenario;
  let bytes: ModelBytes;
  let resident: ReturnType<typeof record>;
  beforeAll(() => {
    scenario = clippedSometimes(plain);
    bytes = measure(scenario);
    resident = record(scenario, {});
    const clipped = (resident.seen as StepRecord[]).map(({ clipFactor }) => clipFactor < 1);
    expect(new Set(clipped)).toEqual(new Set([true, false]));
    expect(new Set((resident.seen as StepRecord[]).map(({ norm }) => norm)).size).toBe(scenario.steps);
  });

  const isSequence = !plain.name.includes('twice');
  const all = placementsFor(plain.config.train?.accumulate ?? 1, isSequence);
  const some = ['chunks, all on the GPU', 'tight GPU', 'parameters and states mostly on disk'];
  // Where first values come from is soon seen, and most of what a unit used twice asks for is the same for all states.
  const isSoonSeen = plain.values !== undefined || plain.name === 'compressed states, a unit used twice';
  it.each(isSoonSeen ? some.map(placementNamed) : all)('$name', (placement) => {
    withFolder((folder) => {
      const { seen, hashes, plan } = recordPlaced(scenario, placement, bytes, folder);
      expect(updatesBy(plan, 'none')).toBeGreaterThan(0);
      expect(seen).toEqual(resident.seen);
      expect(hashes).toEqual(resident.hashes);
    });
  });
});
