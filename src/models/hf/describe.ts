/** Models to the `config.json` that describes them. */
import { TierraError } from '../../core/errors.ts';
import type { RotaryScaling } from '../../nn/index.ts';
import type { Dtype } from '../../tensor/index.ts';
import type { LanguageModel } from '../languageModel.ts';
import type { LlamaConfig } from '../llama.ts';
import type { HfConfig } from '../presets.ts';
import { describeModel, type ModelDescription, type ModelType } from './config.ts';

const classNames: Readonly<Record<ModelType, string>> = {
  gpt2: 'GPT2LMHeadModel',
  llama: 'LlamaForCausalLM',
  mistral: 'MistralForCausalLM',
  mixtral: 'MixtralForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
};

/** A configuration with our defaults spelled out, so that other tools read the same shape. */
export function completeConfig(raw: HfConfig, { family, config }: ModelDescription): HfConfig {
  const known: Record<string, unknown> = { ...config };
  const own = [
    'rope_scaling',
    'attention_output_bias',
    'qk_norm',
    'mixture',
    ...(raw.model_type === 'qwen2' ? ['attention_bias'] : []),
  ];
  if (family === 'llama') for (const field of own) delete known[field];
  if (known.layer_types === null) delete known.layer_types;
  if (raw.model_type === 'llama' && known.sliding_window === null) delete known.sliding_window;
  return { architectures: [classNames[raw.model_type as ModelType]], ...known, ...raw };
}

/**
 * The `config.json` of a model made from its class. Throws `E_UNSUPPORTED` for a mixture of features that none of the
 * architectures has: `transformers` could not load it.
 */
export function hfConfigOf(model: LanguageModel): HfConfig {
  const description = { family: model.family, config: model.config } as ModelDescription;
  const raw = description.family === 'gpt2' ? { model_type: 'gpt2' } : llamaFields(description.config);
  const config = completeConfig(raw, description);
  const again = describeModel(config, 'the model');
  const different = Object.entries(model.config).filter(
    ([field, value]) => JSON.stringify(value) !== JSON.stringify(again.config[field as keyof typeof again.config]),
  );
  if (different.length === 0) return config;
  throw new TierraError(
    'E_UNSUPPORTED',
    `no architecture of Hugging Face has this model's ${different.map(([field]) => field).join(', ')}`,
    { hint: `It is nearest to ${raw.model_type}. Its parameters can be saved by name with stateDict(model).` },
  );
}

function llamaFields(config: LlamaConfig): HfConfig {
  const rope = ropeFields(config.rope_scaling);
  const rope_parameters = rope === null ? {} : { rope_parameters: { ...rope, rope_theta: config.rope_theta } };
  return {
    model_type: llamaType(config),
    ...config.mixture,
    ...(windowedByLayer(config) ? { use_sliding_window: true } : {}),
    ...rope_parameters,
  };
}

function llamaType(config: LlamaConfig): ModelType {
  if (config.mixture !== undefined) return 'mixtral';
  if (config.qk_norm) return 'qwen3';
  if (windowedByLayer(config) || (config.attention_bias && !config.attention_output_bias)) return 'qwen2';
  return config.sliding_window === null ? 'llama' : 'mistral';
}

function windowedByLayer(config: LlamaConfig): boolean {
  return config.sliding_window !== null && config.layer_types !== null;
}

function ropeFields(scaling: RotaryScaling): HfConfig | null {
  if (scaling.type === 'none') return null;
  if (scaling.type === 'linear') return { rope_type: 'linear', factor: scaling.factor };
  return {
    rope_type: 'llama3',
    factor: scaling.factor,
    low_freq_factor: scaling.lowFrequencyFactor,
    high_freq_factor: scaling.highFrequencyFactor,
    original_max_position_embeddings: scaling.originalLength,
  };
}

/** The configuration for weights of `dtype`; older and newer versions of `transformers` name the field differently. */
export function withDtype(config: HfConfig, dtype: Dtype): HfConfig {
  const { torch_dtype: _old, dtype: _new, ...rest } = config;
  return { ...rest, dtype, ...(config.torch_dtype === undefined ? {} : { torch_dtype: dtype }) };
}

/** Fields that `transformers` takes only with a decimal point. */
const decimals = /("(?:router_aux_loss_coef|router_jitter_noise)": \d+)(?=,?\n)/g;

/** The text of `config.json`. */
export function hfConfigText(config: HfConfig): string {
  return `${JSON.stringify(config, null, 2)}\n`.replace(decimals, '$1.0');
}
