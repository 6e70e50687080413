/**
 * Ring self-attention (Li et al. 2021): a rank has the scores of its tokens with all keys, `[b, h, s/p, s]`, so softmax, masks and
 * dropout are local. Keys, then values go around the ring. Elements received per layer: 6(p-1)/p · tokens · kv heads · head
 * size. Memory grows with s²/p: `RingAttention` needs less.
 */
import { type AttentionOptions, alibiSlopes, positionIds } from '../../nn/index.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { groupId } from '../nativeGroup.ts';
import { ringMix, ringScores } from './operators.ts';
import { runsOf, type SequenceOrder } from './order.ts';
import { refuseOptions } from './refuse.ts';
import { SharedTokens } from './sharedTokens.ts';

export class RingScores extends SharedTokens {
  readonly name = 'scores';
  readonly order: SequenceOrder;

  constructor(group: Group, order: SequenceOrder = 'contiguous') {
    super(group);
    this.order = order;
  }

  attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
    refuseOptions(this.name, options, ['mask']);
    const id = groupId(this.group);
    const scale = options.scale ?? 1 / Math.sqrt(query.size(3));
    const wide = query.dtype === 'float64' ? 'float64' : 'float32';
    const scores = ops.mul(ops.to(ringScores(query, key, id), { dtype: wide }), scale);
    const weights = ops.to(ops.softmax(this.#masked(scores, options), -1), { dtype: value.dtype });
    const dropped = options.dropout ? ops.dropout(weights, options.dropout, true) : weights;
    return ringMix(dropped, value, id);
  }

  /** Scores `[b, h, t, s]` with -inf where a key may not be seen, and ALiBi's biases. */
  #masked(scores: Tensor, { causal, window = null, alibi = false }: AttentionOptions): Tensor {
    if (!causal && window === null && !alibi) return scores;
    const { device, dtype } = scores;
    const length = scores.size(2);
    const keyRuns = Array.from({ length: this.parts }, (_, rank) =>
      runsOf(this.order, rank, this.parts, length),
    ).flat();
    const own = ops.reshape(positionIds(this.runs(length), device), [length, 1]);
    const distance = ops.sub(own, positionIds(keyRuns, device));
    let masked = scores;
    if (alibi) {
      const slopes = ops.fromArray(alibiSlopes(scores.size(1)), [scores.size(1), 1, 1], { dtype, device });
      masked = ops.sub(masked, ops.mul(ops.to(ops.abs(distance), { dtype }), slopes));
    }
    if (causal) masked = ops.maskedFill(masked, ops.lt(distance, 0), Number.NEGATIVE_INFINITY);
    if (window !== null) masked = ops.maskedFill(masked, ops.ge(distance, window), Number.NEGATIVE_INFINITY);
    return masked;
  }
}
