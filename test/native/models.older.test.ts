/** Folders as older versions of transformers wrote them, made from the goldens, load as the same models. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HfConfig, loadPretrained } from '../../src/models/index.ts';
import {
  openSafetensorsFolder,
  ShardedSafetensorsWriter,
  type TensorDeclaration,
} from '../../src/tensor/safetensors/index.ts';
import { type GoldenModel, goldenModel, largestDifference, logitsOf } from '../cases/goldenModels.ts';

let folder: string;
beforeEach(() => {
  folder = path.join(mkdtempSync(path.join(tmpdir(), 'tierra-older-')), 'model');
});
afterEach(() => rmSync(path.dirname(folder), { recursive: true, force: true }));

function expectSameModel({ ids, logits }: GoldenModel): void {
  const model = loadPretrained(folder);
  expect(largestDifference(logitsOf(model, ids), logits)).toBeLessThan(1e-5);
  model.unplace();
}

/** Copies a golden with `config.json` changed; undefined removes a field. */
function withConfig(name: string, fields: HfConfig): GoldenModel {
  const golden = goldenModel(name);
  cpSync(golden.folder, folder, { recursive: true });
  const file = path.join(folder, 'config.json');
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...fields }));
  return golden;
}

/** Copies a golden with its tensors renamed and others added. */
function withTensors(name: string, rename: (name: string) => string, added: readonly TensorDeclaration[]): GoldenModel {
  const golden = goldenModel(name);
  cpSync(golden.folder, folder, { recursive: true });
  rmSync(path.join(folder, 'model.safetensors'));
  const source = openSafetensorsFolder(golden.folder);
  const old = new Map(source.names().map((tensor) => [rename(tensor), tensor]));
  const kept = [...old].map(([fresh, tensor]) => ({ ...source.info(tensor), name: fresh }));
  using writer = new ShardedSafetensorsWriter(folder, [...kept, ...added]);
  for (const tensor of writer.layout) {
    const from = old.get(tensor);
    const extra = added.find((declared) => declared.name === tensor);
    const elements = extra?.shape.reduce((product, size) => product * size, 1) ?? 0;
    const bytes = new Uint8Array(from === undefined ? 4 * elements : source.info(from).bytes);
    if (from !== undefined) source.readInto(from, bytes);
    writer.write(tensor, bytes);
  }
  writer.finish();
  source.close();
  return golden;
}

describe('older folders', () => {
  it('rope_scaling with `type`, rope_theta beside it', () => {
    const old = { rope_parameters: undefined, rope_theta: 10_000, rope_scaling: { type: 'linear', factor: 2 } };
    expectSameModel(withConfig('llama-linear-bias', old));
  });

  it('rope_scaling with rope_type llama3', () => {
    const rope_scaling = {
      rope_type: 'llama3',
      factor: 4,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 16,
    };
    expectSameModel(withConfig('llama-tied-llama3', { rope_parameters: undefined, rope_theta: 10_000, rope_scaling }));
  });

  it('windows by max_window_layers alone', () => {
    expectSameModel(withConfig('qwen2-window', { layer_types: undefined }));
  });

  it('windows that are switched off', () => {
    expectSameModel(withConfig('qwen2', { sliding_window: 3, use_sliding_window: false }));
  });

  it('fields with defaults left out', () => {
    expectSameModel(withConfig('gpt2', { n_inner: undefined, architectures: undefined }));
    rmSync(folder, { recursive: true });
    expectSameModel(withConfig('llama', { head_dim: undefined, rope_scaling: null, pretraining_tp: undefined }));
  });

  it('GPT-2 without prefix, with its masks and the tied head a second time', () => {
    const strip = (name: string) => name.replace(/^transformer\./, '');
    const added: TensorDeclaration[] = [
      { name: 'h.0.attn.bias', dtype: 'F32', shape: [1, 1, 32, 32] },
      { name: 'h.1.attn.masked_bias', dtype: 'F32', shape: [] },
      { name: 'lm_head.weight', dtype: 'F32', shape: [64, 24] },
    ];
    expectSameModel(withTensors('gpt2', strip, added));
  });

  it('Llama with the frequencies of its rotary positions', () => {
    const added: TensorDeclaration[] = [
      { name: 'model.layers.0.self_attn.rotary_emb.inv_freq', dtype: 'F32', shape: [4] },
    ];
    expectSameModel(withTensors('llama', (name) => name, added));
  });
});
