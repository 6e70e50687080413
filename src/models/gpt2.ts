/** GPT-2 (Radford et al. 2019): learned positions, pre-norm blocks, tanh GELU, tied head. Weights stored `[in, out]`. */
import {
  type ActivationName,
  activations,
  attend,
  type EmbeddingLayer,
  init,
  type LinearLayer,
  layers,
  Module,
  type NormLayer,
  positionIds,
  positionRuns,
  type ShardedSequence,
  splitHeads,
} from '../nn/index.ts';
import { ops, type Tensor } from '../tensor/index.ts';
import { LanguageHead } from './head.ts';
import { type BlockContext, LanguageModel } from './languageModel.ts';

/** Field names as in Hugging Face's `config.json`. */
export interface Gpt2Config {
  readonly vocab_size: number;
  readonly n_positions: number;
  readonly n_embd: number;
  readonly n_layer: number;
  readonly n_head: number;
  /** null: 4 · n_embd. */
  readonly n_inner: number | null;
  readonly activation_function: ActivationName;
  readonly embd_pdrop: number;
  readonly attn_pdrop: number;
  readonly resid_pdrop: number;
  readonly layer_norm_epsilon: number;
  readonly initializer_range: number;
  readonly tie_word_embeddings: boolean;
}

class Gpt2Embedding extends Module<[Tensor, number, ShardedSequence | null], Tensor> {
  readonly wte: EmbeddingLayer;
  readonly wpe: EmbeddingLayer;
  readonly drop: Module<[Tensor], Tensor>;

  constructor(config: Gpt2Config) {
    super();
    this.wte = layers().embedding(config.vocab_size, config.n_embd, init.normal(config.initializer_range));
    this.wpe = layers().table(config.n_positions, config.n_embd, init.normal(config.initializer_range));
    this.drop = layers().dropout(config.embd_pdrop);
  }

  forward(ids: Tensor, start: number, sequence: ShardedSequence | null): Tensor {
    const positions = positionIds(positionRuns(sequence, start, ids.size(1)), ids.device);
    return this.drop.call(ops.add(this.wte.call(ids), this.wpe.call(positions)));
  }
}

class Gpt2Attention extends Module<[Tensor, BlockContext], Tensor> {
  readonly c_attn: LinearLayer;
  readonly c_proj: LinearLayer;
  readonly drop: Module<[Tensor], Tensor>;
  readonly #headSize: number;
  readonly #dropout: number;
  readonly #drawApart = layers().drawApart;

  constructor(config: Gpt2Config) {
    super();
    const { n_embd: width, initializer_range: std } = config;
    const headSize = width / config.n_head;
    const small = init.normal(std / Math.sqrt(2 * config.n_layer));
    const inner = { along: 'out', sections: 3, unit: headSize } as const;
    this.c_attn = layers().linearInOut(width, 3 * width, init.normal(std), init.zeros, inner);
    this.c_proj = layers().linearInOut(width, width, small, init.zeros, { along: 'in', unit: headSize });
    this.drop = layers().dropout(config.resid_pdrop);
    this.#headSize = headSize;
    this.#dropout = config.attn_pdrop;
  }

  override get drawsRandom(): boolean {
    return this.#dropout > 0;
  }

  forward(x: Tensor, { start, cache, layer, sequence }: BlockContext): Tensor {
    const [query, key, value] = ops
      .chunk(this.c_attn.call(x), 3, 2)
      .map((part) => splitHeads(part, part.size(2) / this.#headSize));
    const options = { causal: true, dropout: this.training ? this.#dropout : 0 };
    const mixed = this.#drawApart(() =>
      attend([query!, key!, value!], null, { cache, layer, sequence }, options, start),
    );
    return this.drop.call(this.c_proj.call(mixed));
  }
}

class Gpt2Mlp extends Module<[Tensor], Tensor> {
  readonly c_fc: LinearLayer;
  readonly c_proj: LinearLayer;
  readonly drop: Module<[Tensor], Tensor>;
  readonly #activation: ActivationName;

  constructor(config: Gpt2Config) {
    super();
    const { n_embd: width, initializer_range: std } = config;
    const hidden = config.n_inner ?? 4 * width;
    const small = init.normal(std / Math.sqrt(2 * config.n_layer));
    this.c_fc = layers().linearInOut(width, hidden, init.normal(std), init.zeros, { along: 'out' });
    this.c_proj = layers().linearInOut(hidden, width, small, init.zeros, { along: 'in' });
    this.drop = layers().dropout(config.resid_pdrop);
    this.#activation = config.activation_function;
  }

  forward(x: Tensor): Tensor {
    return this.drop.call(this.c_proj.call(activations[this.#activation](this.c_fc.call(x))));
  }
}

class Gpt2Block extends Module<[Tensor, BlockContext], Tensor> {
  readonly ln_1: NormLayer;
  readonly attn: Gpt2Attention;
  readonly ln_2: NormLayer;
  readonly mlp: Gpt2Mlp;

  constructor(config: Gpt2Config) {
    super();
    this.ln_1 = layers().layerNorm(config.n_embd, config.layer_norm_epsilon);
    this.attn = new Gpt2Attention(config);
    this.ln_2 = layers().layerNorm(config.n_embd, config.layer_norm_epsilon);
    this.mlp = new Gpt2Mlp(config);
  }

  forward(x: Tensor, context: BlockContext): Tensor {
    const attended = ops.add(x, this.attn.call(this.ln_1.call(x), context));
    return ops.add(attended, this.mlp.call(this.ln_2.call(attended)));
  }
}

export class Gpt2 extends LanguageModel {
  readonly family = 'gpt2';
  readonly embedding: Gpt2Embedding;
  readonly blocks: readonly Gpt2Block[];
  readonly head: LanguageHead;
  readonly config: Gpt2Config;

  constructor(config: Gpt2Config) {
    super();
    this.config = config;
    const { n_embd: width, vocab_size: vocabulary, initializer_range: std } = config;
    this.embedding = new Gpt2Embedding(config).unit();
    this.blocks = Array.from({ length: config.n_layer }, () => new Gpt2Block(config).unit());
    const tied = config.tie_word_embeddings ? this.embedding.wte.weight : null;
    const norm = layers().layerNorm(width, config.layer_norm_epsilon);
    this.head = new LanguageHead(norm, width, vocabulary, tied, std).unit();
  }

  get lengthField(): string {
    return 'n_positions';
  }

  get maxLength(): number {
    return this.config.n_positions;
  }

  get vocabularySize(): number {
    return this.config.vocab_size;
  }
}
