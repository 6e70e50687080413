/** `tierra plan --largest` looks at a micro-batch, as a run does: what it proposes is placed without a second thought. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { type ConfigInput, resolveConfig } from '../../src/config/index.ts';
import { planLargest } from '../../src/engine/planLargest.ts';
import { initialize, launch } from '../../src/index.ts';
import { buildModel, type ModelSettings, type TokenBatch } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import type { ChunkStore } from '../../src/offload/chunked/chunkStore.ts';
import { ops, scope, type Tensor } from '../../src/tensor/index.ts';

test('the deepest model is what a run plans, to the byte, and nothing of the rehearsal stays', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-rehearsal-'));
  try {
    const input = {
      device: 'cpu',
      precision: 'fp32',
      model: { preset: 'llama-bytes-1m' },
      data: { train: 'none', sequenceLength: 64 },
      train: { steps: 10, batchSize: 2 },
      memory: {
        gpu: '20MiB',
        cpu: '16MiB',
        nvme: { path: folder, size: '24MiB' },
        activations: 'recompute',
      },
    } as unknown as ConfigInput;
    const config = resolveConfig(input);
    const before = native().liveTensors();
    const found = await planLargest(config, { described: null, measure: false }, true);
    expect(native().liveTensors()).toBe(before);
    expect(native().liveArenas()).toBe(0);
    expect(found.layers).toBeGreaterThan(4);
    expect(found.refused!.reason).toMatch(/is short by/);

    const settings = { preset: 'llama-bytes-1m', overrides: { [found.field]: found.layers } };
    const { model } = buildModel(settings as unknown as ModelSettings);
    using engine = initialize<TokenBatch, Tensor>({ context: launch(input), model, totalSteps: 10 });
    scope(() => {
      const ids = ops.zeros([2, 64], { dtype: 'int64' });
      engine.prepare({ ids, labels: ids }, { together: true });
    });
    const plan = (engine.store as ChunkStore).plan!;
    expect(plan.chunks.length).toBe(found.plan.chunks.length);
    expect(plan.otherBytes.gpu).toBe(found.plan.otherBytes.gpu);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 180_000);
