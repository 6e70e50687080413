import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { TierraError } from '../core/errors.ts';
import { withIo } from '../core/files.ts';
import { nearest } from '../core/nearest.ts';
import { Gpt2 } from './gpt2.ts';
import { describeModel, type ModelFamily } from './hf/config.ts';
import { completeConfig } from './hf/describe.ts';
import type { LanguageModel } from './languageModel.ts';
import { Llama } from './llama.ts';
import { type HfConfig, type PresetName, presets } from './presets.ts';

/** The `model:` section of the configuration. */
export type ModelSettings =
  | { readonly preset: string; readonly overrides: HfConfig }
  | { readonly path: string; readonly weights: boolean }
  | { readonly architecture: string; readonly config: HfConfig };

export interface BuiltModel {
  /** Without memory: parameters are placed later. */
  readonly model: LanguageModel;
  readonly family: ModelFamily;
  /** What `config.json` says, or would say. */
  readonly hfConfig: HfConfig;
  /** Folder to load weights from, or null for random ones. */
  readonly weights: string | null;
}

/** Builds the model that the settings describe; no parameter has memory yet. */
export function buildModel(settings: ModelSettings): BuiltModel {
  if ('path' in settings) {
    const hfConfig = readHfConfig(settings.path);
    return {
      ...fromHfConfig(hfConfig, path.join(settings.path, 'config.json')),
      weights: settings.weights ? settings.path : null,
    };
  }
  if ('preset' in settings) {
    const preset = presets[settings.preset as PresetName] as HfConfig | undefined;
    if (preset === undefined) {
      const near = nearest(settings.preset, Object.keys(presets));
      throw new TierraError('E_CONFIG', `model.preset: there is no preset ${settings.preset}`, {
        hint: `${near === undefined ? '' : `Did you mean ${near}? `}Known: ${Object.keys(presets).join(', ')}.`,
      });
    }
    return { ...fromHfConfig({ ...preset, ...settings.overrides }, `model.preset ${settings.preset}`), weights: null };
  }
  return { ...fromHfConfig({ ...settings.config, model_type: settings.architecture }, 'model.config'), weights: null };
}

function fromHfConfig(raw: HfConfig, where: string): Omit<BuiltModel, 'weights'> {
  const description = describeModel(raw, where);
  const model = description.family === 'gpt2' ? new Gpt2(description.config) : new Llama(description.config);
  const hfConfig = completeConfig(raw, description);
  model.hfConfig = hfConfig;
  return { model, family: description.family, hfConfig };
}

function readHfConfig(folder: string): HfConfig {
  const file = path.join(folder, 'config.json');
  if (!existsSync(file)) {
    const found = existsSync(folder)
      ? 'there is no config.json, so this is not a Hugging Face checkpoint'
      : 'there is no such folder';
    throw new TierraError('E_CHECKPOINT', `${folder}: ${found}`, {
      hint: 'Give the folder that holds config.json and model.safetensors (or its shards and index).',
    });
  }
  const parsed = parseJson(file);
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as HfConfig;
  const found = Array.isArray(parsed) ? 'an array' : JSON.stringify(parsed);
  throw new TierraError('E_CORRUPT', `${file}: expected a JSON object, got ${found}`, { hint: fetchAgain });
}

const fetchAgain = 'Download or copy the file again: it is not what transformers writes.';

function parseJson(file: string): unknown {
  const text = withIo('read', file, () => readFileSync(file, 'utf8'));
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new TierraError('E_CORRUPT', `${file}: not valid JSON: ${reason}`, { cause, hint: fetchAgain });
  }
}
