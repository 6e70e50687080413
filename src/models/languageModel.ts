/**
 * A decoder-only language model: embedding, blocks, head with its loss, one unit each.
 *
 * Shapes: ids and labels int64 `[b, t]`, hidden states `[b, t, width]`, logits `[b, t, vocabulary]`.
 */
import { type KeyValueCache, Module } from '../nn/index.ts';
import { runSequence, type SequenceModel } from '../nn/sequence.ts';
import type { Tensor } from '../tensor/index.ts';

export interface TokenBatch {
  readonly ids: Tensor;
  /** Present: the result is the mean loss in nats per token; absent: the logits. -100 marks positions without loss. */
  readonly labels?: Tensor;
  /** Keys and values of earlier positions, which `ids` continue. */
  readonly cache?: KeyValueCache;
  /** Position of the first id: the number of positions in the cache. Default 0. */
  readonly start?: number;
}

/** What a block needs beside the hidden states. */
export interface BlockContext {
  /** Position of the first token in `ids`. */
  readonly start: number;
  readonly cache: KeyValueCache | null;
  /** The block's number. */
  readonly layer: number;
}

export type EmbeddingUnit = Module<[ids: Tensor, start: number], Tensor>;
export type BlockUnit = Module<[x: Tensor, context: BlockContext], Tensor>;
export type HeadUnit = Module<[x: Tensor, labels: Tensor | null], Tensor>;

export abstract class LanguageModel extends Module<[TokenBatch], Tensor> implements SequenceModel<TokenBatch> {
  abstract readonly embedding: EmbeddingUnit;
  abstract readonly blocks: readonly BlockUnit[];
  abstract readonly head: HeadUnit;
  /** Largest number of positions the model was made for. */
  abstract readonly maxLength: number;
  abstract readonly vocabularySize: number;

  get stages(): number {
    return this.blocks.length + 2;
  }

  runStage(index: number, x: Tensor | null, { ids, labels, cache, start = 0 }: TokenBatch): Tensor {
    if (x === null) return this.embedding.call(ids, start);
    const layer = index - 1;
    const block = this.blocks[layer];
    if (block !== undefined) return block.call(x, { start, cache: cache ?? null, layer });
    return this.head.call(x, labels ?? null);
  }

  forward(batch: TokenBatch): Tensor {
    return runSequence(this, batch);
  }

  /** Mean loss in nats per token with a label. */
  loss(ids: Tensor, labels: Tensor): Tensor {
    return this.call({ ids, labels });
  }
}
