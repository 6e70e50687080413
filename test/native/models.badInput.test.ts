/** What is wrong with a checkpoint or a configuration is said in full, with what to do about it. */
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ErrorCode, formatError, isTierraError } from '../../src/core/errors.ts';
import { buildModel, type HfConfig, loadPretrained } from '../../src/models/index.ts';
import { native } from '../../src/native/load.ts';
import { noGrad, ops, scope } from '../../src/tensor/index.ts';
import { goldenModel } from '../cases/goldenModels.ts';

let root: string;
let folder: string;
let config: string;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'tierra-bad-'));
  folder = path.join(root, 'model');
  config = path.join(folder, 'config.json');
  cpSync(goldenModel('llama').folder, folder, { recursive: true });
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** The whole message and hint of what `body` throws. */
function refusal(body: () => unknown, code: ErrorCode): string {
  try {
    body();
  } catch (error) {
    expect(isTierraError(error, code), String(error)).toBe(true);
    return formatError(error).replaceAll(root, '');
  }
  throw new Error('nothing was thrown');
}

const change = (fields: HfConfig) =>
  writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')), ...fields }));
const loading = () => loadPretrained(folder);

describe('config.json', () => {
  it('missing', () => {
    rmSync(config);
    expect(refusal(loading, 'E_CHECKPOINT')).toBe(
      '/model: there is no config.json, so this is not a Hugging Face checkpoint\n  Give the folder that holds config.json and model.safetensors (or its shards and index).',
    );
    expect(refusal(() => loadPretrained(path.join(root, 'nowhere')), 'E_CHECKPOINT')).toBe(
      '/nowhere: there is no such folder\n  Give the folder that holds config.json and model.safetensors (or its shards and index).',
    );
  });

  it('invalid', () => {
    writeFileSync(config, '{ "model_type": ');
    expect(refusal(loading, 'E_CORRUPT')).toMatch(/^\/model\/config\.json: not valid JSON: .*\n {2}Download/);
    writeFileSync(config, '[1]');
    expect(refusal(loading, 'E_CORRUPT')).toMatch(/^\/model\/config\.json: expected a JSON object, got an array\n/);
  });

  it('of an unknown architecture', () => {
    change({ model_type: 'lama' });
    expect(refusal(loading, 'E_UNSUPPORTED')).toBe(
      '/model/config.json: model_type "lama" is not an architecture Tierra knows\n  Did you mean llama? Known: gpt2, llama, mistral, mixtral, qwen2, qwen3.',
    );
    change({ model_type: undefined });
    expect(refusal(loading, 'E_UNSUPPORTED')).toMatch(/^\/model\/config\.json: there is no model_type\n/);
  });

  it('with a bad field', () => {
    change({ hidden_size: 'wide', rms_norm_eps: -1, hidden_act: 'sigmoid' });
    const text = refusal(loading, 'E_CONFIG');
    expect(text).toMatch(/^\/model\/config\.json: not a configuration of this architecture\n {2}hidden_size: /);
    for (const field of ['hidden_size', 'rms_norm_eps', 'hidden_act']) expect(text).toContain(`\n  ${field}: `);
  });

  it.each([
    [{ num_key_value_heads: 3 }, 'num_attention_heads (4) must be a multiple of num_key_value_heads (3)'],
    [{ hidden_size: 33, head_dim: null }, 'hidden_size (33) must be a multiple of num_attention_heads (4)'],
    [{ head_dim: 7 }, 'head_dim (7) must be even: rotary positions turn its halves'],
  ])('with numbers that do not go together: %j', (fields, message) => {
    change(fields);
    expect(refusal(loading, 'E_CONFIG')).toBe(`/model/config.json: ${message}`);
  });

  it('with features we do not compute', () => {
    change({ rope_parameters: { rope_type: 'yarn', factor: 4 } });
    expect(refusal(loading, 'E_UNSUPPORTED')).toBe(
      '/model/config.json: rope type "yarn" is not supported\n  Supported: default, linear, llama3.',
    );
    change({ rope_parameters: null, quantization_config: { bits: 4 } });
    expect(refusal(loading, 'E_UNSUPPORTED')).toMatch(/^\/model\/config\.json: quantization_config is \{"bits":4\}\n/);
    change({ quantization_config: null, rope_parameters: { rope_type: 'default', partial_rotary_factor: 0.5 } });
    expect(refusal(loading, 'E_UNSUPPORTED')).toContain('partial_rotary_factor is 0.5');
  });
});

describe('weights', () => {
  it('of another shape', () => {
    change({ vocab_size: 65 });
    expect(refusal(loading, 'E_CHECKPOINT')).toBe(
      '/model: model.embed_tokens.weight has shape [64,32], the model needs [65,32]\n  config.json and the weights disagree, or the checkpoint is of another model.',
    );
  });

  it('missing', () => {
    change({ num_hidden_layers: 3 });
    expect(refusal(loading, 'E_CHECKPOINT')).toBe(
      '/model: there is no tensor model.layers.2.input_layernorm.weight\n  The nearest name there is model.layers.0.input_layernorm.weight: is it of another model?',
    );
  });

  it('with tensors that the model has no place for', () => {
    change({ num_hidden_layers: 1 });
    expect(refusal(loading, 'E_CHECKPOINT')).toMatch(
      /^\/model: holds 9 tensors that the model has no parameter for: model\.layers\.1\.\S+, .*…\n {2}config\.json/,
    );
  });

  it('not there at all', () => {
    rmSync(path.join(folder, 'model.safetensors'));
    expect(refusal(loading, 'E_IO')).toContain('there is no model.safetensors or model.safetensors.index.json');
  });

  it('pickled', () => {
    renameSync(path.join(folder, 'model.safetensors'), path.join(folder, 'pytorch_model.bin'));
    expect(refusal(loading, 'E_UNSUPPORTED')).toBe(
      '/model: holds pytorch_model.bin, but no model.safetensors or model.safetensors.index.json\n  Pickled weights can run code when loaded and are never read: convert the model to safetensors first.',
    );
  });

  it('leave nothing behind when they fail', () => {
    const live = native().liveTensors();
    change({ vocab_size: 65 });
    expect(loading).toThrow();
    const file = path.join(folder, 'model.safetensors');
    writeFileSync(file, readFileSync(file).subarray(0, 9000));
    expect(loading).toThrow();
    expect(native().liveTensors()).toBe(live);
  });
});

describe('running a model', () => {
  const positions = (length: number) => ops.fromArray(Array(length).fill(1), [1, length], { dtype: 'int64' });

  it.each([
    ['gpt2', 32, 'n_positions'],
    ['llama', 64, 'max_position_embeddings'],
  ])('%s refuses sequences longer than its positions', (name, length, field) => {
    const model = loadPretrained(goldenModel(name).folder);
    scope(() =>
      noGrad(() => {
        expect(model.call({ ids: positions(length) }).shape).toEqual([1, length, 64]);
        const more = () => model.call({ ids: positions(length + 1) });
        expect(refusal(more, 'E_ARGUMENT')).toBe(
          `${length + 1} positions are more than the model has: ${length}\n  Shorten the sequences or the prompt, or build the model with a larger ${field}.`,
        );
      }),
    );
    model.unplace();
  });

  it('refuses ids outside the vocabulary', () => {
    const model = loadPretrained(goldenModel('llama').folder);
    scope(() =>
      noGrad(() => {
        const ids = ops.fromArray([3, 64], [1, 2], { dtype: 'int64' });
        expect(refusal(() => model.call({ ids }), 'E_OPERATOR')).toContain('index out of range');
      }),
    );
    model.unplace();
  });
});

describe('presets', () => {
  it('that do not exist', () => {
    const text = refusal(() => buildModel({ preset: 'gpt-2', overrides: {} }), 'E_CONFIG');
    expect(text).toMatch(/^model\.preset: there is no preset gpt-2\n {2}Did you mean gpt2\? Known: /);
  });
});
