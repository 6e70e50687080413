/**
 * A decoder-only language model: embedding, blocks, head with its loss, one unit each.
 *
 * Shapes: ids and labels int64 `[b, t]`, hidden states `[b, t, width]`, logits `[b, t, vocabulary]`.
 */
import { check } from '../core/errors.ts';
import { type KeyValueCache, Module, type ShardedSequence } from '../nn/index.ts';
import { runSequence, type SequenceModel } from '../nn/sequence.ts';
import { ops, type Tensor } from '../tensor/index.ts';
import type { ModelDescription, ModelFamily } from './hf/config.ts';
import type { HfConfig } from './presets.ts';

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
  /** Where other ranks hold the other tokens; null: they are all here. */
  readonly sequence: ShardedSequence | null;
}

export type EmbeddingUnit = Module<[ids: Tensor, start: number, sequence: ShardedSequence | null], Tensor>;
export type BlockUnit = Module<[x: Tensor, context: BlockContext], Tensor>;
export type HeadUnit = Module<[x: Tensor, labels: Tensor | null], Tensor>;

/** Those of the batch, where a layout filled it up. */
function firstRows(logits: Tensor, rows: number): Tensor {
  return logits.size(0) === rows ? logits : ops.slice(logits, 0, 0, rows);
}

export abstract class LanguageModel extends Module<[TokenBatch], Tensor> implements SequenceModel<TokenBatch> {
  /** Which names its tensors have in checkpoints. */
  abstract readonly family: ModelFamily;
  abstract readonly config: ModelDescription['config'];
  /** The `config.json` that the model was built from, completed; null for a model made from its class. */
  hfConfig: HfConfig | null = null;
  /**
   * How other ranks have the other parts of every sequence; null: nobody has. Batches are whole sequences in any case: the model takes
   * this rank's tokens of them. Logits are then of these tokens, and the loss is this rank's share, of which the ranks' mean is the loss.
   */
  sequence: ShardedSequence | null = null;
  abstract readonly embedding: EmbeddingUnit;
  abstract readonly blocks: readonly BlockUnit[];
  abstract readonly head: HeadUnit;
  /** Largest number of positions the model was made for. */
  abstract readonly maxLength: number;
  /** The field of the configuration that says so. */
  abstract readonly lengthField: string;
  abstract readonly vocabularySize: number;

  override get repeatable(): boolean {
    return true;
  }

  get stages(): number {
    return this.blocks.length + 2;
  }

  runStage(index: number, x: Tensor | null, { ids, labels, cache, start = 0 }: TokenBatch): Tensor {
    const { sequence } = this;
    if (x === null) {
      this.#checkLength(start + ids.size(1));
      return this.embedding.call(sequence?.split(ids, 1) ?? ids, start, sequence);
    }
    const layer = index - 1;
    const block = this.blocks[layer];
    if (block !== undefined) return block.call(x, { start, cache: cache ?? null, layer, sequence });
    if (labels === undefined) return firstRows(this.head.call(x, null), ids.size(0));
    if (sequence === null) return this.head.call(x, labels);
    const own = sequence.split(labels, 1);
    return sequence.shareOfLoss(this.head.call(x, own), own);
  }

  forward(batch: TokenBatch): Tensor {
    return runSequence(this, batch);
  }

  #checkLength(positions: number): void {
    check(positions <= this.maxLength, `${positions} positions are more than the model has: ${this.maxLength}`, {
      hint: `Shorten the sequences or the prompt, or build the model with a larger ${this.lengthField}.`,
    });
  }

  /** Mean loss in nats per token with a label. */
  loss(ids: Tensor, labels: Tensor): Tensor {
    return this.call({ ids, labels });
  }
}
