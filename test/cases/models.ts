/** Shapes small enough for any machine, with every feature of the architecture in use. */
import type { Gpt2Config, LlamaConfig } from '../../src/models/index.ts';

export const tinyGpt2 = (changes: Partial<Gpt2Config> = {}): Gpt2Config => ({
  vocab_size: 61,
  n_positions: 32,
  n_embd: 24,
  n_layer: 3,
  n_head: 3,
  n_inner: null,
  activation_function: 'gelu_new',
  embd_pdrop: 0,
  attn_pdrop: 0,
  resid_pdrop: 0,
  layer_norm_epsilon: 1e-5,
  initializer_range: 0.2,
  tie_word_embeddings: true,
  ...changes,
});

/** Four experts, two per token. */
export const tinyMixture = {
  num_local_experts: 4,
  num_experts_per_tok: 2,
  router_aux_loss_coef: 0.05,
  router_jitter_noise: 0,
};

export const tinyLlama = (changes: Partial<LlamaConfig> = {}): LlamaConfig => ({
  vocab_size: 67,
  hidden_size: 32,
  intermediate_size: 56,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  hidden_act: 'silu',
  rope_theta: 10_000,
  rope_scaling: { type: 'none' },
  initializer_range: 0.2,
  attention_bias: false,
  attention_output_bias: false,
  mlp_bias: false,
  qk_norm: false,
  sliding_window: null,
  layer_types: null,
  attention_dropout: 0,
  tie_word_embeddings: false,
  ...changes,
});
