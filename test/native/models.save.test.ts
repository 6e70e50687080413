/** What is saved is what was loaded, by name, shape and byte, and transformers reads it with the same logits. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resolveConfig } from '../../src/config/index.ts';
import type { DataPosition } from '../../src/data/index.ts';
import { initialize, launch } from '../../src/engine/index.ts';
import { saveCheckpoint } from '../../src/engine/saving.ts';
import {
  buildModel,
  Gpt2,
  type LanguageModel,
  Llama,
  loadPretrained,
  savePretrained,
  valuesFor,
} from '../../src/models/index.ts';
import { placeParameters } from '../../src/nn/index.ts';
import type { Dtype } from '../../src/tensor/index.ts';
import { openSafetensorsFolder } from '../../src/tensor/safetensors/index.ts';
import { goldenModel, goldenNames, largestDifference, logitsOf } from '../cases/goldenModels.ts';
import { tinyGpt2, tinyLlama, tinyMixture } from '../cases/models.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'tierra-models-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const json = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;

function tensorsIn(location: string): Map<string, string> {
  const source = openSafetensorsFolder(location);
  const tensors = new Map(
    source.names().map((name) => {
      const { shape, dtype, bytes } = source.info(name);
      const into = new Uint8Array(bytes);
      source.readInto(name, into);
      return [name, `${dtype} [${shape}] ${Buffer.from(into).toString('base64')}`];
    }),
  );
  source.close();
  return tensors;
}

describe('savePretrained', () => {
  it.each(goldenNames)('%s: same tensors, same names, same configuration', (name) => {
    const golden = goldenModel(name);
    const model = loadPretrained(golden.folder);
    const saved = path.join(folder, name);
    savePretrained(model, saved);
    model.unplace();
    expect(tensorsIn(saved)).toEqual(tensorsIn(golden.folder));
    expect(json(path.join(saved, 'config.json'))).toMatchObject(json(path.join(golden.folder, 'config.json')));
    const again = loadPretrained(saved);
    expect(largestDifference(logitsOf(again, golden.ids), golden.logits)).toBeLessThan(1e-5);
    again.unplace();
  });

  it('cuts shards, says the type of the weights, and keeps what is there', () => {
    const golden = goldenModel('llama');
    const model = loadPretrained(golden.folder, { dtype: 'bfloat16' });
    const saved = path.join(folder, 'bf16');
    savePretrained(model, saved, { maxShardBytes: 10_000 });
    expect(json(path.join(saved, 'config.json')).dtype).toBe('bfloat16');
    const files = readdirSync(saved);
    expect(files).toContain('model.safetensors.index.json');
    expect(files.filter((file) => file.endsWith('.safetensors')).length).toBeGreaterThan(1);
    expect(() => savePretrained(model, saved)).toThrow(`${saved}: there is a model here already`);
    model.unplace();
  });

  it('refuses a mixture of features that no architecture has', () => {
    const model = new Llama(tinyLlama({ qk_norm: true, mlp_bias: true }));
    placeParameters(model, { seed: 1, dtype: 'float32', device: 'cpu' });
    expect(() => savePretrained(model, path.join(folder, 'mixture'))).toThrow(
      "no architecture of Hugging Face has this model's mlp_bias",
    );
    model.unplace();
  });
});

describe('a checkpoint of training', () => {
  it.each(goldenNames)('%s: its model folder is what was loaded', async (name) => {
    const golden = goldenModel(name);
    const output = path.join(folder, 'runs', name);
    const config = resolveConfig({
      name,
      device: 'cpu',
      precision: 'fp32',
      runtime: { threads: 1, optimizerThreads: 1 },
      train: { steps: 1, output },
    });
    const built = buildModel({ path: golden.folder, weights: true });
    const source = valuesFor(built)!;
    const engine = initialize({ context: launch(config), model: built.model, values: source.values });
    source.close();
    const position = { version: 1, epoch: 0, sample: 0, samples: 1, seed: 1, shuffle: false, fingerprint: 'none' };
    const { path: saved } = await saveCheckpoint(engine, { built, config, totalSteps: 1 }, position as DataPosition);
    engine.dispose();
    const model = path.join(saved, 'model');
    expect(tensorsIn(model)).toEqual(tensorsIn(golden.folder));
    expect(json(path.join(model, 'config.json'))).toMatchObject(json(path.join(golden.folder, 'config.json')));
  });
});

const python = process.env.TIERRA_PYTHON ?? 'python3';
const probe = spawnSync(python, ['-c', 'import torch, transformers'], { encoding: 'utf8' });
const reason = probe.status === 0 ? '' : ` (skipped: ${python} has no transformers; set TIERRA_PYTHON)`;

/** Reads folders and ids from the file given, prints each model's logits. */
const script = `
import json, sys, torch
from transformers import AutoModelForCausalLM
out = []
for case in json.load(open(sys.argv[1])):
    model, info = AutoModelForCausalLM.from_pretrained(case["folder"], output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    with torch.no_grad():
        logits = model.eval()(torch.tensor(case["ids"])).logits
    out.append({"dtype": str(model.dtype), "logits": logits.float().flatten().tolist()})
json.dump(out, open(sys.argv[2], "w"))
`;

interface Case {
  readonly name: string;
  readonly model: LanguageModel;
  readonly dtype?: Dtype;
}

describe.skipIf(reason !== '')(`transformers${reason}`, () => {
  it('loads what we save, with the same logits', { timeout: 180_000 }, () => {
    const own: Case[] = [
      { name: 'gpt2', model: new Gpt2(tinyGpt2()) },
      { name: 'gpt2 untied', model: new Gpt2(tinyGpt2({ tie_word_embeddings: false, n_inner: 40 })) },
      { name: 'llama', model: new Llama(tinyLlama({ tie_word_embeddings: true })) },
      {
        name: 'llama3',
        model: new Llama(
          tinyLlama({
            rope_theta: 5000,
            rope_scaling: {
              type: 'llama3',
              factor: 4,
              lowFrequencyFactor: 1,
              highFrequencyFactor: 4,
              originalLength: 16,
            },
          }),
        ),
      },
      { name: 'linear', model: new Llama(tinyLlama({ rope_scaling: { type: 'linear', factor: 2 } })) },
      { name: 'qwen2', model: new Llama(tinyLlama({ attention_bias: true })) },
      {
        name: 'qwen2 with windows',
        model: new Llama(
          tinyLlama({
            attention_bias: true,
            sliding_window: 4,
            layer_types: ['full_attention', 'sliding_attention', 'sliding_attention'],
          }),
        ),
      },
      { name: 'qwen3', model: new Llama(tinyLlama({ qk_norm: true, head_dim: 16 })) },
      { name: 'mistral', model: new Llama(tinyLlama({ sliding_window: 5 })) },
      { name: 'mixtral', model: new Llama(tinyLlama({ mixture: tinyMixture })) },
      { name: 'bf16', model: new Llama(tinyLlama()), dtype: 'bfloat16' },
    ];
    const ids = [0, 1].map((row) => Array.from({ length: 20 }, (_, i) => (i * 31 + row * 17 + 5) % 61));
    const cases = own.map(({ name, model, dtype = 'float32' }) => {
      placeParameters(model, { seed: 3, dtype, device: 'cpu' });
      const saved = path.join(folder, 'own', name);
      mkdirSync(path.dirname(saved), { recursive: true });
      savePretrained(model, saved);
      const logits = logitsOf(model.eval(), ids);
      model.unplace();
      return { name, folder: saved, ids, logits, dtype };
    });
    const [from, to] = [path.join(folder, 'cases.json'), path.join(folder, 'logits.json')];
    writeFileSync(from, JSON.stringify(cases.map(({ folder, ids }) => ({ folder, ids }))));
    const run = spawnSync(python, ['-c', script, from, to], {
      encoding: 'utf8',
      env: { ...process.env, HF_HUB_OFFLINE: '1' },
    });
    expect(run.status, run.stderr).toBe(0);
    const theirs = JSON.parse(readFileSync(to, 'utf8')) as { dtype: string; logits: number[] }[];
    for (const [index, { name, logits, dtype }] of cases.entries()) {
      expect(theirs[index]!.dtype, name).toBe(`torch.${dtype}`);
      const allowed = dtype === 'float32' ? 2e-5 : 0.2;
      expect(largestDifference(logits, theirs[index]!.logits), name).toBeLessThan(allowed);
    }
  });
});
