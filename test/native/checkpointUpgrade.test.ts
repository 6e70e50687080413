/** A checkpoint of the format version before (test/goldens/checkpoint-v1) is resumed, and saved again as today's. */
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { resolveConfig } from '../../src/config/index.ts';
import { readManifest, verifyCheckpoint } from '../../src/engine/checkpoint/index.ts';
import { initialize, launch } from '../../src/engine/index.ts';
import { loadCheckpoint } from '../../src/engine/loading.ts';
import { saveCheckpoint } from '../../src/engine/saving.ts';
import { buildModel } from '../../src/models/index.ts';
import { tokens } from './engineSupport.ts';

const golden = path.resolve(import.meta.dirname, '../goldens/checkpoint-v1/step-00000003');

it('version 1 is read as written, trained on, and saved as version 2', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-upgrade-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const old = path.join(folder, 'checkpoints/step-00000003');
  cpSync(golden, old, { recursive: true });
  expect(JSON.parse(readFileSync(path.join(old, 'manifest.json'), 'utf8'))).toMatchObject({ version: 1 });
  const { manifest } = await verifyCheckpoint(old);
  expect(manifest).toMatchObject({ version: 2, step: 3, savedAt: null, metrics: {}, writers: 1 });

  const config = resolveConfig({
    device: 'cpu',
    precision: 'bf16',
    data: { sequenceLength: 16 },
    train: { steps: 5, output: folder },
  });
  const shape = { n_embd: 8, n_layer: 1, n_head: 2, n_positions: 16, vocab_size: 257 };
  const build = () => buildModel({ architecture: 'gpt2', config: { ...shape, ...saved } });
  const saved = JSON.parse(readFileSync(path.join(old, 'model/config.json'), 'utf8')) as Record<string, unknown>;
  const context = launch(config);
  const built = build();
  using engine = initialize({ context, model: built.model });
  const { position, step } = loadCheckpoint(engine, old, built);
  expect(step).toBe(3);
  const { path: copy } = await saveCheckpoint(
    engine,
    { built, config: { ...config, train: { ...config.train, output: path.join(folder, 'new') } }, totalSteps: 5 },
    position,
  );
  expect(readManifest(copy)).toMatchObject({ version: 2, step: 3, dataPosition: manifest.dataPosition });
  for (const file of ['model/model.safetensors', 'optimizer/optimizer.safetensors'])
    expect(readFileSync(path.join(copy, file)).equals(readFileSync(path.join(old, file)))).toBe(true);

  const batch = tokens(2, 16, 1);
  engine.zeroGrad();
  engine.backward(engine.forward(batch as never) as never);
  expect(engine.step()).toMatchObject({ step: 4, nonFinite: null });
  batch.ids.dispose();
  batch.labels.dispose();
});
