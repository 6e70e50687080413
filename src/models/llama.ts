/**
 * The Llama family (Touvron et al. 2023): RMSNorm, rotary positions, grouped key/value heads, SwiGLU. Qwen2 adds biases
 * to query, key and value; Qwen3 norms queries and keys per head; Mistral limits attention to a window; Mixtral (Jiang et al.
 * 2024) has a mixture of experts in place of each block's MLP.
 */
import {
  type ActivationName,
  attend,
  type EmbeddingLayer,
  init,
  type LinearLayer,
  layers,
  Module,
  MoeBlock,
  type NormLayer,
  Rotary,
  type RotaryScaling,
  SwiGLU,
  splitHeads,
} from '../nn/index.ts';
import { ops, type Tensor } from '../tensor/index.ts';
import { LanguageHead } from './head.ts';
import { type BlockContext, LanguageModel } from './languageModel.ts';

export type LayerType = 'full_attention' | 'sliding_attention';

/** Field names as in Hugging Face's `config.json`; what differs between the families is spelled out. */
export interface LlamaConfig {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly hidden_act: ActivationName;
  readonly rope_theta: number;
  readonly rope_scaling: RotaryScaling;
  readonly initializer_range: number;
  readonly attention_bias: boolean;
  /** Bias of the output projection of attention: Llama's `attention_bias` has it, Qwen2's biases do not. */
  readonly attention_output_bias: boolean;
  readonly mlp_bias: boolean;
  readonly qk_norm: boolean;
  /** Keys further back than this many positions are not seen; null: all are. */
  readonly sliding_window: number | null;
  /** Which blocks the window holds for; null: all. */
  readonly layer_types: readonly LayerType[] | null;
  readonly attention_dropout: number;
  readonly tie_word_embeddings: boolean;
  /** Absent: one MLP per block. */
  readonly mixture?: MixtureConfig;
}

/** Mixtral's own fields. */
export interface MixtureConfig {
  readonly num_local_experts: number;
  readonly num_experts_per_tok: number;
  /** Weight of each block's load-balance loss. */
  readonly router_aux_loss_coef: number;
  readonly router_jitter_noise: number;
  /** Slots of an expert as a multiple of what it would get if all got the same; absent: as many as needed. Tierra's own field. */
  readonly expert_capacity_factor?: number;
}

class TokenEmbedding extends Module<[Tensor, ...unknown[]], Tensor> {
  readonly tokens: EmbeddingLayer;

  constructor(config: LlamaConfig) {
    super();
    this.tokens = layers().embedding(config.vocab_size, config.hidden_size, init.normal(config.initializer_range));
  }

  forward(ids: Tensor): Tensor {
    return this.tokens.call(ids);
  }
}

class LlamaAttention extends Module<[Tensor, BlockContext], Tensor> {
  readonly q_proj: LinearLayer;
  readonly k_proj: LinearLayer;
  readonly v_proj: LinearLayer;
  readonly o_proj: LinearLayer;
  readonly q_norm: NormLayer | null;
  readonly k_norm: NormLayer | null;
  readonly #config: LlamaConfig;
  readonly #rotary: Rotary;
  readonly #enter = layers().enter;
  readonly #drawApart = layers().drawApart;

  constructor(config: LlamaConfig, rotary: Rotary) {
    super();
    const { hidden_size: width, head_dim: size, num_attention_heads: heads, num_key_value_heads: kvHeads } = config;
    const weights = { init: init.normal(config.initializer_range), biasInit: init.zeros };
    const inner = { ...weights, bias: config.attention_bias };
    const byHeads = { along: 'out', unit: size, entered: true } as const;
    this.q_proj = layers().linear(width, heads * size, inner, byHeads);
    this.k_proj = layers().linear(width, kvHeads * size, inner, byHeads);
    this.v_proj = layers().linear(width, kvHeads * size, inner, byHeads);
    const outer = { ...weights, bias: config.attention_output_bias };
    this.o_proj = layers().linear(heads * size, width, outer, { along: 'in', unit: size });
    this.q_norm = config.qk_norm ? layers().headNorm(size, config.rms_norm_eps) : null;
    this.k_norm = config.qk_norm ? layers().headNorm(size, config.rms_norm_eps) : null;
    this.#config = config;
    this.#rotary = rotary;
  }

  override get drawsRandom(): boolean {
    return this.#config.attention_dropout > 0;
  }

  forward(x: Tensor, { start, cache, layer, sequence }: BlockContext): Tensor {
    const { layer_types: types, sliding_window, head_dim: size } = this.#config;
    const window = types === null || types[layer] === 'sliding_attention' ? sliding_window : null;
    // As many heads as this rank has.
    const headsOf = (projected: Tensor): Tensor => splitHeads(projected, projected.size(2) / size);
    const entered = this.#enter(x);
    const query = headsOf(this.q_proj.call(entered));
    const key = headsOf(this.k_proj.call(entered));
    const value = headsOf(this.v_proj.call(entered));
    const mixed = this.#drawApart(() =>
      attend(
        [this.q_norm?.call(query) ?? query, this.k_norm?.call(key) ?? key, value],
        this.#rotary,
        { cache, layer, sequence },
        { causal: true, window, dropout: this.training ? this.#config.attention_dropout : 0 },
        start,
      ),
    );
    return this.o_proj.call(mixed);
  }
}

class LlamaBlock extends Module<[Tensor, BlockContext], Tensor> {
  readonly input_layernorm: NormLayer;
  readonly self_attn: LlamaAttention;
  readonly post_attention_layernorm: NormLayer;
  readonly mlp: SwiGLU | MoeBlock;

  constructor(config: LlamaConfig, rotary: Rotary) {
    super();
    const { hidden_size: width, rms_norm_eps: epsilon } = config;
    this.input_layernorm = layers().rmsNorm(width, epsilon);
    this.self_attn = new LlamaAttention(config, rotary);
    this.post_attention_layernorm = layers().rmsNorm(width, epsilon);
    const inner = { init: init.normal(config.initializer_range), activation: config.hidden_act };
    const { mixture } = config;
    this.mlp =
      mixture === undefined
        ? new SwiGLU(width, config.intermediate_size, { ...inner, bias: config.mlp_bias })
        : new MoeBlock({
            ...inner,
            width,
            hidden: config.intermediate_size,
            experts: mixture.num_local_experts,
            k: mixture.num_experts_per_tok,
            normalize: true,
            balanceWeight: mixture.router_aux_loss_coef,
            jitter: mixture.router_jitter_noise,
            capacityFactor: mixture.expert_capacity_factor ?? null,
          });
  }

  forward(x: Tensor, context: BlockContext): Tensor {
    const attended = ops.add(x, this.self_attn.call(this.input_layernorm.call(x), context));
    return ops.add(attended, this.mlp.call(this.post_attention_layernorm.call(attended)));
  }
}

export class Llama extends LanguageModel {
  readonly family = 'llama';
  readonly embedding: TokenEmbedding;
  readonly blocks: readonly LlamaBlock[];
  readonly head: LanguageHead;
  readonly config: LlamaConfig;
  readonly #rotary: Rotary;

  constructor(config: LlamaConfig) {
    super();
    this.config = config;
    const { hidden_size: width, head_dim: headSize, rope_theta: theta, rope_scaling: scaling } = config;
    const rotary = new Rotary({ headSize, theta, scaling });
    this.#rotary = rotary;
    this.embedding = new TokenEmbedding(config).unit();
    this.blocks = Array.from({ length: config.num_hidden_layers }, () => new LlamaBlock(config, rotary).unit());
    const tied = config.tie_word_embeddings ? this.embedding.tokens.weight : null;
    const norm = layers().rmsNorm(width, config.rms_norm_eps);
    this.head = new LanguageHead(norm, width, config.vocab_size, tied, config.initializer_range).unit();
  }

  override unplace(): void {
    super.unplace();
    this.#rotary.dispose();
  }

  get lengthField(): string {
    return 'max_position_embeddings';
  }

  get maxLength(): number {
    return this.config.max_position_embeddings;
  }

  get vocabularySize(): number {
    return this.config.vocab_size;
  }
}
