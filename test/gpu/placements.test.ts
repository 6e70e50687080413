/** On a GPU as on the CPU: losses, norms and every bit of the final state are the same wherever chunks and activations live. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { type MemoryInput, updatesBy } from '../cases/placements.ts';
import { type Course, nowhere, startRun, trainTo } from '../native/checkpointRuns.ts';
import { tokens, where } from '../native/engineSupport.ts';
import {
  type AnyEngine,
  batchOf,
  drop,
  evaluate,
  gpt,
  hashesOf,
  inFp32,
  planOf,
  record,
  type Scenario,
  scenario,
  start,
  trainStep,
} from '../native/tiersSupport.ts';
import { device } from './kernelsSupport.ts';

if (typeof device === 'string') where.device = device;
const folder = mkdtempSync(path.join(tmpdir(), 'tierra-gpu-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Fixed shares: what a CUDA context takes would swamp budgets as small as these models. */
const ample = { gpu: '4GiB', cpu: '1GiB' };
const nvme = { path: path.join(folder, 'swap'), size: '1GiB' };
const host: MemoryInput = { ...ample, policy: 'static' };
const mixed: MemoryInput = {
  ...host,
  nvme,
  static: { gpuParameters: 0.3, gpuStates: 0.3, hostParameters: 0.5, hostStates: 0.5 },
};
const disk: MemoryInput = { ...host, nvme, static: { hostParameters: 0, hostStates: 0 } };

const placements: Readonly<Record<string, MemoryInput>> = {
  'chunks, all on the GPU': ample,
  'in host memory, guessed': { ...host, speculate: 'always' },
  'in host memory, never guessed': { ...host, speculate: 'never' },
  'on three tiers': mixed,
  'on disk': disk,
  'activations in host memory': { ...host, activations: 'host' },
  'everything and activations on disk': { ...disk, activations: 'nvme' },
  'in host memory, vertical': { ...host, accumulation: 'vertical' },
  'on disk, vertical': { ...disk, accumulation: 'vertical' },
};

const scenarios: readonly Scenario[] = [
  scenario('fp32', {}),
  scenario('bf16', { precision: 'bf16' }, { chunkSize: 16 * 1024 }),
  scenario('bf16, three micro-batches', { precision: 'bf16', train: { accumulate: 3 } }, { chunkSize: 16 * 1024 }),
  scenario('bf16 from fp32 values', { precision: 'bf16' }, { chunkSize: 16 * 1024, values: inFp32 }),
  scenario('fp16', { precision: 'fp16' }, { chunkSize: 16 * 1024 }),
  scenario('fp64, three micro-batches', { precision: 'fp64', train: { accumulate: 3 } }, { chunkSize: 64 * 1024 }),
];

/** Steps with an evaluation after each; what CUDA was asked for after the second. */
function course(engine: AnyEngine, steps: number): unknown {
  let after = 0;
  const seen = Array.from({ length: steps }, (_, step) => {
    const result = { ...trainStep(engine), evaluated: evaluate(engine, 7) };
    if (step === 1) after = native().memoryStats(where.device).systemAllocations;
    return result;
  });
  return { seen, allocations: native().memoryStats(where.device).systemAllocations - after };
}

describe.skipIf(typeof device !== 'string').each(scenarios)('$name', (plain) => {
  let scenario: Scenario;
  let resident: ReturnType<typeof record>;
  beforeAll(() => {
    const runtime = { threads: 1, optimizerThreads: 1, deterministic: true };
    const free = { ...plain, config: { ...plain.config, runtime, train: { ...plain.config.train, clipNorm: null } } };
    const norms = (record(free, {}, course).seen as { seen: { norm: number }[] }).seen.map(({ norm }) => norm);
    // Between the norms of its steps, so that some are clipped and some are not.
    norms.sort((a, b) => a - b);
    scenario = {
      ...free,
      config: { ...free.config, train: { ...plain.config.train, clipNorm: (norms[2]! + norms[3]!) / 2 } },
    };
    resident = record(scenario, {}, course);
  });

  const vertical = (plain.config.train?.accumulate ?? 1) > 1;
  const names = Object.keys(placements).filter((name) => vertical || !name.includes('vertical'));
  it('in host memory, parameters ahead of their states', () => {
    const least = record(scenario, placements['in host memory, never guessed']!, course).plan!.arenaBytes.host;
    // Room for second parameters, and little more.
    const memory = { ...host, speculate: 'always', cpu: Math.round(1.25 * least) } as const;
    const { seen, hashes, plan } = record(scenario, memory, course);
    expect(updatesBy(plan!, 'previewed')).toBeGreaterThan(plan!.chunks.length / 3);
    expect(seen).toEqual(resident.seen);
    expect(hashes).toEqual(resident.hashes);
  });

  it.each(names)('%s', (name) => {
    const { seen, hashes, plan } = record(scenario, placements[name]!, course);
    expect(updatesBy(plan!, 'device') + updatesBy(plan!, 'none') === plan!.chunks.length).toBe(
      name.includes('all on the GPU'),
    );
    expect(seen).toEqual(resident.seen);
    expect(hashes).toEqual(resident.hashes);
  });
});

describe.skipIf(typeof device !== 'string')('a checkpoint', () => {
  const all: Readonly<Record<string, MemoryInput>> = { resident: {}, host, mixed, disk };
  let whole: Course;
  beforeAll(async () => {
    await using run = startRun(path.join(folder, 'whole'), {}, 'bf16');
    trainTo(run.engine, 2);
    whole = trainTo(run.engine, 4);
  });

  it.each([
    ['resident', 'disk'],
    ['mixed', 'host'],
    ['host', 'resident'],
    ['disk', 'mixed'],
  ])('of %s goes on in %s', async (from, to) => {
    const output = path.join(folder, `from-${from}`);
    {
      await using saver = startRun(output, all[from]!, 'bf16');
      trainTo(saver.engine, 2);
      await saver.checkpointer.save(nowhere);
      trainTo(saver.engine, 3);
      await saver.checkpointer.finish();
    }
    await using run = startRun(path.join(folder, 'resumed'), all[to]!, 'bf16');
    const batch = batchOf(0);
    run.engine.prepare(batch as never, { together: true });
    drop(batch);
    run.load(path.join(output, 'checkpoints', 'step-00000002'));
    expect(trainTo(run.engine, 4)).toEqual(whole);
  });
});

describe.skipIf(typeof device !== 'string')('a step', () => {
  const plain = scenario('fp32', {}, { model: () => gpt(0) });

  it('with a larger batch than was planned for is planned anew', () => {
    const run = (memory: MemoryInput): unknown => {
      const engine = start(plain, memory);
      try {
        trainStep(engine);
        const larger = tokens(6, 32, 3);
        engine.zeroGrad();
        const [loss] = engine.runMicroBatches([larger]);
        const value = loss!.item();
        engine.step();
        drop(larger);
        return { value, after: trainStep(engine), hashes: hashesOf(engine) };
      } finally {
        engine.dispose();
      }
    };
    expect(run(mixed)).toEqual(run({}));
  });

  it('that does not fit is refused beforehand, with the budget that would do', () => {
    const engine = start(plain, { gpu: '64KiB', cpu: '1GiB' });
    try {
      expect(() => trainStep(engine)).toThrow(/memory\.gpu|gpu is short/);
    } finally {
      engine.dispose();
    }
    const fits = start(plain, host);
    trainStep(fits);
    expect(planOf(fits).chunks.length).toBeGreaterThan(1);
    fits.dispose();
  });
});
