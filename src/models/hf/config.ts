/** Hugging Face's `config.json` to our configurations; `describe.ts` has the way back. */
import { z } from 'zod';
import { TierraError } from '../../core/errors.ts';
import { nearest } from '../../core/nearest.ts';
import { type ActivationName, activations, type RotaryScaling } from '../../nn/index.ts';
import type { Gpt2Config } from '../gpt2.ts';
import type { LayerType, LlamaConfig, MixtureConfig } from '../llama.ts';
import type { HfConfig } from '../presets.ts';

export const modelTypes = ['gpt2', 'llama', 'mistral', 'mixtral', 'qwen2', 'qwen3'] as const;
export type ModelType = (typeof modelTypes)[number];

const size = z.int().positive();
const probability = z.number().min(0).lt(1);
const activation = z.enum(Object.keys(activations) as [ActivationName, ...ActivationName[]]);

const gpt2Schema = z.object({
  vocab_size: size.default(50_257),
  n_positions: size.default(1024),
  n_embd: size.default(768),
  n_layer: size.default(12),
  n_head: size.default(12),
  n_inner: size.nullable().default(null),
  activation_function: activation.default('gelu_new'),
  embd_pdrop: probability.default(0),
  attn_pdrop: probability.default(0),
  resid_pdrop: probability.default(0),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  initializer_range: z.number().positive().default(0.02),
  tie_word_embeddings: z.boolean().default(true),
});

const ropeSchema = z
  .object({
    rope_type: z.string().optional(),
    type: z.string().optional(),
    rope_theta: z.number().positive().optional(),
    factor: z.number().positive().optional(),
    low_freq_factor: z.number().positive().optional(),
    high_freq_factor: z.number().positive().optional(),
    original_max_position_embeddings: z.number().positive().optional(),
  })
  .nullable();

const llamaSchema = z.object({
  vocab_size: size.default(32_000),
  hidden_size: size.default(4096),
  intermediate_size: size.default(11_008),
  num_hidden_layers: size.default(32),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullable().default(null),
  head_dim: size.nullable().default(null),
  max_position_embeddings: size.default(2048),
  rms_norm_eps: z.number().positive().default(1e-6),
  hidden_act: activation.default('silu'),
  rope_theta: z.number().positive().default(10_000),
  /** `rope_scaling` of older files and `rope_parameters` of newer ones say the same. */
  rope_scaling: ropeSchema.default(null),
  rope_parameters: ropeSchema.default(null),
  initializer_range: z.number().positive().default(0.02),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  /** null: no window; absent: the architecture's default. */
  sliding_window: size.nullable().optional(),
  use_sliding_window: z.boolean().default(false),
  max_window_layers: z.int().min(0).default(28),
  layer_types: z
    .array(z.enum(['full_attention', 'sliding_attention']))
    .nullable()
    .default(null),
  attention_dropout: probability.default(0),
  tie_word_embeddings: z.boolean().default(false),
});

const mixtureSchema = z.object({
  num_local_experts: size.default(8),
  num_experts_per_tok: size.default(2),
  router_aux_loss_coef: z.number().min(0).default(0.001),
  router_jitter_noise: probability.default(0),
  expert_capacity_factor: z.number().positive().nullish(),
});

export type ModelFamily = ModelDescription['family'];

export type ModelDescription =
  | { readonly family: 'gpt2'; readonly config: Gpt2Config }
  | { readonly family: 'llama'; readonly config: LlamaConfig };

/** Reads a `config.json`; `where` names it in errors. Fields we do not use are ignored. */
export function describeModel(raw: HfConfig, where: string): ModelDescription {
  const type = raw.model_type;
  if (!modelTypes.includes(type as ModelType)) throw unknownType(type, where);
  refuseUnsupported(raw, where);
  if (type === 'gpt2') {
    const config = parse(gpt2Schema, raw, where);
    checkMultiple(where, 'n_embd', config.n_embd, 'n_head', config.n_head);
    return { family: 'gpt2', config };
  }
  return { family: 'llama', config: llamaConfig(type as ModelType, raw, where) };
}

function llamaConfig(type: ModelType, raw: HfConfig, where: string): LlamaConfig {
  const parsed = parse(llamaSchema, raw, where);
  const { rope_parameters, rope_scaling, use_sliding_window, max_window_layers, sliding_window, ...rest } = parsed;
  const { num_attention_heads: heads, num_key_value_heads, num_hidden_layers: layers } = parsed;
  const kvHeads = num_key_value_heads ?? heads;
  checkMultiple(where, 'num_attention_heads', heads, 'num_key_value_heads', kvHeads);
  if (parsed.head_dim === null) checkMultiple(where, 'hidden_size', parsed.hidden_size, 'num_attention_heads', heads);
  const head_dim = parsed.head_dim ?? parsed.hidden_size / heads;
  if (head_dim % 2 !== 0) {
    throw new TierraError(
      'E_CONFIG',
      `${where}: head_dim (${head_dim}) must be even: rotary positions turn its halves`,
    );
  }
  const rope = rope_parameters ?? rope_scaling;
  const qwen = type === 'qwen2' || type === 'qwen3';
  const window =
    type === 'mistral' || type === 'mixtral' || (qwen && use_sliding_window) ? (sliding_window ?? null) : null;
  return {
    ...rest,
    num_key_value_heads: kvHeads,
    head_dim,
    rope_theta: rope?.rope_theta ?? parsed.rope_theta,
    rope_scaling: scaling(rope, parsed.max_position_embeddings, where),
    attention_bias: type === 'qwen2' || (type !== 'mistral' && type !== 'mixtral' && parsed.attention_bias),
    attention_output_bias: (type === 'llama' || type === 'qwen3') && parsed.attention_bias,
    mlp_bias: type === 'llama' && parsed.mlp_bias,
    qk_norm: type === 'qwen3',
    sliding_window: type === 'mistral' && sliding_window === undefined ? mistralWindow : window,
    layer_types: qwen && window !== null ? layerTypes(parsed.layer_types, layers, max_window_layers, where) : null,
    ...(type === 'mixtral' ? { mixture: mixture(raw, where) } : {}),
  };
}

function mixture(raw: HfConfig, where: string): MixtureConfig {
  const parsed = parse(mixtureSchema, raw, where);
  const { expert_capacity_factor: factor, ...known } = parsed;
  const { num_local_experts: experts, num_experts_per_tok: k } = known;
  if (k <= experts) return factor == null ? known : { ...known, expert_capacity_factor: factor };
  throw new TierraError(
    'E_CONFIG',
    `${where}: num_experts_per_tok (${k}) must not exceed num_local_experts (${experts})`,
  );
}

function unknownType(type: unknown, where: string): TierraError {
  const near = nearest(String(type), modelTypes);
  const problem =
    type === undefined
      ? 'there is no model_type'
      : `model_type ${JSON.stringify(type)} is not an architecture Tierra knows`;
  return new TierraError('E_UNSUPPORTED', `${where}: ${problem}`, {
    hint: `${near === undefined ? '' : `Did you mean ${near}? `}Known: ${modelTypes.join(', ')}.`,
  });
}

/** What `transformers` takes where a Mistral's file says nothing. */
const mistralWindow = 4096;

/** Qwen's lower layers see everything, those from `firstWindowed` on only the window, unless the file lists them. */
function layerTypes(
  listed: readonly LayerType[] | null,
  layers: number,
  firstWindowed: number,
  where: string,
): readonly LayerType[] {
  if (listed !== null && listed.length !== layers) {
    throw new TierraError(
      'E_CONFIG',
      `${where}: layer_types names ${listed.length} layers, num_hidden_layers is ${layers}`,
    );
  }
  const byNumber = (_: unknown, i: number): LayerType => (i >= firstWindowed ? 'sliding_attention' : 'full_attention');
  return listed ?? Array.from({ length: layers }, byNumber);
}

/** Fields that change the numbers and that we do not compute: loading such a model would train another one. */
const unsupported: readonly (readonly [field: string, harmless: readonly unknown[]])[] = [
  ['quantization_config', [null]],
  ['partial_rotary_factor', [1]],
  ['scale_attn_weights', [true]],
  ['scale_attn_by_inverse_layer_idx', [false]],
  ['add_cross_attention', [false]],
];

function refuseUnsupported(raw: HfConfig, where: string): void {
  const rope = (raw.rope_parameters ?? raw.rope_scaling ?? {}) as HfConfig;
  for (const [field, harmless] of unsupported) {
    const value = raw[field] ?? rope[field];
    if (value === undefined || harmless.includes(value)) continue;
    throw new TierraError('E_UNSUPPORTED', `${where}: ${field} is ${JSON.stringify(value)}`, {
      hint: `Tierra computes models only with ${field} absent or ${harmless.join(', ')}.`,
    });
  }
}

function scaling(rope: z.output<typeof ropeSchema>, maxLength: number, where: string): RotaryScaling {
  const type = rope?.rope_type ?? rope?.type ?? 'default';
  if (type === 'default') return { type: 'none' };
  if (type === 'linear') return { type: 'linear', factor: rope?.factor ?? 1 };
  if (type === 'llama3') {
    return {
      type: 'llama3',
      factor: rope?.factor ?? 8,
      lowFrequencyFactor: rope?.low_freq_factor ?? 1,
      highFrequencyFactor: rope?.high_freq_factor ?? 4,
      originalLength: rope?.original_max_position_embeddings ?? maxLength,
    };
  }
  throw new TierraError('E_UNSUPPORTED', `${where}: rope type ${JSON.stringify(type)} is not supported`, {
    hint: 'Supported: default, linear, llama3.',
  });
}

function parse<Schema extends z.ZodType>(schema: Schema, raw: HfConfig, where: string): z.output<Schema> {
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
  throw new TierraError('E_CONFIG', `${where}: not a configuration of this architecture\n${problems.join('\n')}`, {
    hint: "The fields are those of Hugging Face's config.json.",
  });
}

function checkMultiple(where: string, name: string, value: number, divisorName: string, divisor: number): void {
  if (value % divisor === 0) return;
  throw new TierraError('E_CONFIG', `${where}: ${name} (${value}) must be a multiple of ${divisorName} (${divisor})`);
}
