/** Shapes by name. Values are fields of Hugging Face's `config.json`, so that a preset can be changed field by field. */

export type HfConfig = Readonly<Record<string, unknown>>;

const gpt2 = (n_embd: number, n_layer: number, n_head: number, more: HfConfig = {}): HfConfig => ({
  model_type: 'gpt2',
  n_embd,
  n_layer,
  n_head,
  ...more,
});

interface LlamaShape {
  readonly width: number;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
}

const llama = ({ width, hidden, layers, heads, kvHeads }: LlamaShape, more: HfConfig = {}): HfConfig => ({
  model_type: 'llama',
  hidden_size: width,
  intermediate_size: hidden,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: kvHeads,
  ...more,
});

const bytes = { vocab_size: 257 };
const llama3 = { vocab_size: 128_256, max_position_embeddings: 8192, rope_theta: 500_000, rms_norm_eps: 1e-5 };

export const presets = {
  /** About 1M parameters over bytes: for first runs and tests. */
  'gpt2-bytes-1m': gpt2(128, 4, 4, { ...bytes, n_positions: 256 }),
  'gpt2-bytes-5m': gpt2(256, 6, 8, { ...bytes, n_positions: 512 }),
  'gpt2-bytes-25m': gpt2(512, 8, 8, { ...bytes, n_positions: 1024 }),
  'gpt2-bytes-85m': gpt2(768, 12, 12, { ...bytes, n_positions: 1024 }),
  gpt2: gpt2(768, 12, 12),
  'gpt2-medium': gpt2(1024, 24, 16),
  'gpt2-large': gpt2(1280, 36, 20),
  'gpt2-xl': gpt2(1600, 48, 25),
  /** The shape of the large GPT-2 runs: 12 billion parameters. */
  'gpt2-12b': gpt2(5120, 36, 40, { n_positions: 2048 }),
  'llama-bytes-1m': llama({ width: 128, hidden: 352, layers: 4, heads: 4, kvHeads: 2 }, bytes),
  'llama-bytes-15m': llama({ width: 384, hidden: 1024, layers: 8, heads: 6, kvHeads: 2 }, bytes),
  /** TinyLlama. */
  'llama-1.1b': llama(
    { width: 2048, hidden: 5632, layers: 22, heads: 32, kvHeads: 4 },
    { vocab_size: 32_000, rms_norm_eps: 1e-5 },
  ),
  'llama-3.2-1b': llama(
    { width: 2048, hidden: 8192, layers: 16, heads: 32, kvHeads: 8 },
    { ...llama3, tie_word_embeddings: true },
  ),
  'llama-3.2-3b': llama(
    { width: 3072, hidden: 8192, layers: 28, heads: 24, kvHeads: 8 },
    { ...llama3, head_dim: 128, tie_word_embeddings: true },
  ),
  'llama-2-7b': llama(
    { width: 4096, hidden: 11_008, layers: 32, heads: 32, kvHeads: 32 },
    { vocab_size: 32_000, max_position_embeddings: 4096, rms_norm_eps: 1e-5 },
  ),
  'llama-3-8b': llama({ width: 4096, hidden: 14_336, layers: 32, heads: 32, kvHeads: 8 }, llama3),
  'llama-2-13b': llama(
    { width: 5120, hidden: 13_824, layers: 40, heads: 40, kvHeads: 40 },
    { vocab_size: 32_000, max_position_embeddings: 4096, rms_norm_eps: 1e-5 },
  ),
  'llama-3-70b': llama({ width: 8192, hidden: 28_672, layers: 80, heads: 64, kvHeads: 8 }, llama3),
} as const satisfies Record<string, HfConfig>;

export type PresetName = keyof typeof presets;
