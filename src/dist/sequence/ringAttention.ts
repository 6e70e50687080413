/**
 * Ring attention (Liu, Zaharia, Abbeel 2023): keys and values go around the ring, outputs are merged by log-sum-exp, no rank ever
 * holds a row of scores over the whole sequence. Elements received per layer: 6(p-1)/p · tokens · kv heads · head size.
 */
import type { AttentionOptions } from '../../nn/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { groupId } from '../nativeGroup.ts';
import { ringAttentionOperator } from './operators.ts';
import { runsPerRank, type SequenceOrder } from './order.ts';
import { refuseOptions } from './refuse.ts';
import { SharedTokens } from './sharedTokens.ts';

export class RingAttention extends SharedTokens {
  readonly name = 'ring';
  readonly order: SequenceOrder;
  readonly #tile: number;

  /** @param tile query positions whose scores exist at once; 0 chooses. */
  constructor(group: Group, order: SequenceOrder = 'zigzag', tile = 0) {
    super(group);
    this.order = order;
    this.#tile = tile;
  }

  attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
    refuseOptions(this.name, options, ['dropout', 'window', 'alibi', 'mask']);
    const scale = options.scale ?? 1 / Math.sqrt(query.size(3));
    const folds = runsPerRank(this.order);
    return ringAttentionOperator(query, key, value, groupId(this.group), options.causal, scale, folds, this.#tile);
  }
}
