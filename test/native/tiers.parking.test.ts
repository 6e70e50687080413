/** Activations parked in host memory and on disk: the numbers of a run that recomputes them, within its budgets. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { initialize, launch } from '../../src/engine/index.ts';
import { native } from '../../src/native/load.ts';
import { type AnyModule, Linear, Module } from '../../src/nn/index.ts';
import type { ChunkStore } from '../../src/offload/chunked/chunkStore.ts';
import type { TimelineEntry } from '../../src/offload/observer.ts';
import { ops, type Tensor } from '../../src/tensor/index.ts';
import { type ModelBytes, placementsFor } from '../cases/placements.ts';
import { settings } from './engineSupport.ts';
import {
  type AnyEngine,
  beginStep,
  evaluate,
  hashesOf,
  measure,
  planOf,
  record,
  type Scenario,
  scenario,
  start,
  trainStep,
} from './tiersSupport.ts';

const scenarios: readonly Scenario[] = [
  scenario('fp32', {}, { steps: 4 }),
  scenario(
    'bf16, three micro-batches',
    { precision: 'bf16', train: { accumulate: 3 } },
    { chunkSize: 16 * 1024, steps: 3 },
  ),
];

const parkingOn = (plain: Scenario, activations: 'recompute' | 'host' | 'nvme', folder: string): Scenario => ({
  ...plain,
  config: {
    ...plain.config,
    memory: { activations, ...(activations === 'nvme' ? { nvme: { path: folder, size: '1GiB' } } : {}) },
  },
});

/** Steps, with an evaluation after each. */
const trained = (engine: AnyEngine, steps: number): unknown =>
  Array.from({ length: steps }, () => ({ ...trainStep(engine), evaluated: evaluate(engine, 7) }));

describe.each(scenarios)('$name', (plain) => {
  let folder: string;
  let expected: unknown;
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'tierra-parking-'));
    const { seen, hashes } = record(parkingOn(plain, 'recompute', folder), {}, trained);
    expected = { seen, hashes };
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  describe.each(['host', 'nvme'] as const)('on %s', (tier) => {
    let bytes: ModelBytes;
    beforeAll(() => {
      bytes = measure(parkingOn(plain, tier, folder));
    });

    it.each(placementsFor(plain.config.train?.accumulate ?? 1, true))('$name', (placement) => {
      const memory = placement.memory(bytes, folder);
      const { seen, hashes, plan } = record(parkingOn(plain, tier, folder), memory, trained);
      expect({ seen, hashes }).toEqual(expected);
      expect(plan!.otherBytes[tier]).toBeGreaterThan(0);
    });
  });
});

describe('parked activations', () => {
  const plain = scenario('fp32', {}, { steps: 3 });
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-parking-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it.each(['host', 'nvme'] as const)('move to %s and back, and leave room on the GPU', (tier) => {
    const run = (activations: 'recompute' | 'host' | 'nvme') => {
      const entries: TimelineEntry[] = [];
      const config = parkingOn({ ...plain, config: {} }, activations, folder).config;
      const context = launch(
        settings({ ...config, memory: { ...config.memory, gpu: '1GiB', cpu: '1GiB', chunkSize: 32 * 1024 } }),
      );
      const observer = { timeline: (batch: { entries: readonly TimelineEntry[] }) => entries.push(...batch.entries) };
      const engine = initialize({ context, model: deep() as never, observer, criterion }) as AnyEngine;
      try {
        for (let step = 0; step < 3; step++) trainDeep(engine);
        const plan = planOf(engine);
        (engine.store as ChunkStore).report();
        const moved = (word: string) => entries.filter(({ name, lane }) => name === word && lane !== 'wait').length;
        return { other: plan.otherBytes, moved, hashes: hashesOf(engine), report: engine.store.report!()! };
      } finally {
        engine.dispose();
      }
    };
    const before = native().liveArenas();
    const recomputed = run('recompute');
    const parked = run(tier);
    expect(parked.hashes).toEqual(recomputed.hashes);
    // Of 12 layers, the inputs of the first and the last stay.
    const times = 3 * 10;
    expect(parked.moved('activations to cpu')).toBe(times);
    expect(parked.moved('activations to gpu')).toBe(times);
    expect(parked.moved('activations to disk')).toBe(tier === 'nvme' ? times : 0);
    expect(parked.moved('activations from disk')).toBe(tier === 'nvme' ? times : 0);
    expect(recomputed.moved('activations to cpu')).toBe(0);
    expect(parked.other.gpu).toBeLessThan(0.6 * recomputed.other.gpu);
    expect(parked.other[tier]).toBeGreaterThanOrEqual(10 * inputBytes);
    expect(parked.report.lanes.toHost.bytes).toBe(10 * inputBytes);
    expect(native().liveArenas()).toBe(before);
  });

  it('are forgotten with a step that is dropped', () => {
    const memory = { gpu: '1GiB', cpu: '1GiB' };
    const expected = record(parkingOn(plain, 'recompute', folder), memory);
    const { seen, hashes } = record(parkingOn(plain, 'nvme', folder), memory, (engine, steps) =>
      Array.from({ length: steps }, () => {
        beginStep(engine);
        return trainStep(engine);
      }),
    );
    expect({ seen, hashes }).toEqual({ seen: expected.seen, hashes: expected.hashes });
  });

  it('that do not fit are refused before anything is placed', () => {
    const engine = start(parkingOn(plain, 'host', folder), { gpu: '1GiB', cpu: '4KiB' });
    expect(() => trainStep(engine)).toThrow(/host is short by/);
    engine.dispose();
  });
});

const width = 64;
const rows = 256;
const inputBytes = rows * width * 4;

const deep = (): AnyModule => new Deep() as AnyModule;

class Deep extends Module<[Tensor], Tensor> {
  readonly layers = Array.from({ length: 12 }, () => new Linear(width, width).unit());

  forward(x: Tensor): Tensor {
    let running = x;
    for (const layer of this.layers) {
      const next = layer.call(running);
      if (running !== x) running.dispose();
      running = next;
    }
    return running;
  }
}

const criterion = (output: Tensor): Tensor => ops.mean(ops.mul(output, output));

function trainDeep(engine: AnyEngine): void {
  engine.train();
  engine.zeroGrad();
  const x = ops.fromArray(
    Array.from({ length: rows * width }, (_, index) => Math.sin(index)),
    [rows, width],
  );
  engine.backward(engine.criterion(engine.forward(x), x));
  engine.step();
  x.dispose();
}
