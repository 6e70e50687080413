/**
 * Scaled dot-product attention (Vaswani et al. 2017) with what decoders need: causal and sliding-window masks, grouped
 * key/value heads (Ainslie et al. 2023), rotary positions, ALiBi, explicit masks, a cache.
 *
 * Shapes: b batch, t query positions, s key positions, h heads, k key/value heads, d head size.
 */
import { check, TierraError } from '../../core/errors.ts';
import type { DeviceName } from '../../native/binding.ts';
import { type Dtype, ops, type Tensor } from '../../tensor/index.ts';
import type { KeyValueCache } from './keyValueCache.ts';
import type { Rotary } from './rotary.ts';
import { positionRuns, type ShardedSequence } from './shardedSequence.ts';

export interface AttentionOptions {
  readonly causal: boolean;
  /** Probability of dropping attention weights; 0 outside train mode. */
  readonly dropout?: number;
  /** Keys further back than this many positions are not seen (Mistral). */
  readonly window?: number | null;
  /** Linear biases by distance (Press, Smith, Lewis 2021). */
  readonly alibi?: boolean;
  /** Added to the scores, broadcast to `[b, h, t, s]`; with it `causal` must be part of the mask. */
  readonly mask?: Tensor | null;
  /** Default `1 / √d`. */
  readonly scale?: number | null;
}

export interface CacheSlot {
  readonly cache: KeyValueCache | null;
  readonly layer: number;
  /** Where other ranks hold the other tokens; null: they are all here. */
  readonly sequence?: ShardedSequence | null;
}

/** query `[b, h, t, d]`, key and value `[b, k, s, d]` to `[b, h, t, d]`; h must be a multiple of k. */
export function attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
  const [heads, kvHeads] = [query.size(1), key.size(1)];
  check(heads % kvHeads === 0, `attention: ${heads} query heads are not a multiple of ${kvHeads} key/value heads`);
  const [length, keys] = [query.size(2), key.size(2)];
  const { causal, dropout = 0, window = null, alibi = false, scale = null } = options;
  const needsMask = alibi || (window !== null && keys > window) || (causal && length !== keys && length > 1);
  const mask =
    options.mask ??
    (needsMask ? scoreBias({ heads, length, keys, causal, window, alibi }, query.dtype, query.device) : null);
  const isCausal = causal && mask === null && length === keys;
  return ops.scaledDotProductAttention(query, key, value, mask, dropout, isCausal, scale, heads !== kvHeads);
}

interface BiasShape {
  readonly heads: number;
  readonly length: number;
  readonly keys: number;
  readonly causal: boolean;
  readonly window: number | null;
  readonly alibi: boolean;
}

/** `[1, 1 or h, t, s]`: -inf where a key may not be seen, ALiBi's slope times distance elsewhere; made on the device. */
function scoreBias(shape: BiasShape, dtype: Dtype, device: DeviceName): Tensor {
  const { heads, length, keys, causal, window, alibi } = shape;
  const wide = { dtype: 'float32', device } as const;
  const positions = ops.reshape(ops.arange(keys - length, keys, wide), [length, 1]);
  const distance = ops.reshape(ops.sub(positions, ops.arange(0, keys, wide)), [1, 1, length, keys]);
  let bias = ops.zeros([1, 1, length, keys], wide);
  if (alibi) {
    const slopes = ops.fromArray(alibiSlopes(heads), [1, heads, 1, 1], { device });
    bias = ops.neg(ops.mul(ops.abs(distance), slopes));
  }
  if (causal) bias = ops.maskedFill(bias, ops.lt(distance, 0), Number.NEGATIVE_INFINITY);
  if (window !== null) bias = ops.maskedFill(bias, ops.ge(distance, window), Number.NEGATIVE_INFINITY);
  return ops.to(bias, { dtype });
}

/** Geometric slopes of ALiBi; for head counts that are no power of two, as the authors' code interpolates. */
export function alibiSlopes(heads: number): number[] {
  const power = 2 ** Math.floor(Math.log2(heads));
  const base = Array.from({ length: power }, (_, i) => 2 ** ((-8 * (i + 1)) / power));
  const rest = Array.from({ length: heads - power }, (_, i) => 2 ** ((-4 * (2 * i + 1)) / power));
  return [...base, ...rest];
}

/** `[b, t, heads · d]` to `[b, heads, t, d]`. */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, length, width] = x.shape as readonly [number, number, number];
  return ops.transpose(ops.view(x, [batch, length, heads, width / heads]), 1, 2);
}

/** `[b, heads, t, d]` to `[b, t, heads · d]`. */
export function mergeHeads(x: Tensor): Tensor {
  const [batch, heads, length, size] = x.shape as readonly [number, number, number, number];
  return ops.reshape(ops.transpose(x, 1, 2), [batch, length, heads * size]);
}

function generationUnsupported(parts: number): TierraError {
  return new TierraError('E_UNSUPPORTED', `a cache of keys and values cannot be spread over ${parts} ranks`, {
    hint: 'Sequence parallelism is for training and evaluation; generate with model.sequence = null.',
  });
}

/** Rotates, appends to the cache, attends, merges heads: query `[b, t, h·d]`, key and value `[b, t, k·d]`. */
export function attend(
  [query, key, value]: readonly [Tensor, Tensor, Tensor],
  rotary: Rotary | null,
  slot: CacheSlot,
  options: AttentionOptions,
  start: number,
): Tensor {
  const { sequence = null } = slot;
  const runs = positionRuns(sequence, start, query.size(2));
  const q = rotary === null ? query : rotary.apply(query, runs);
  const k = rotary === null ? key : rotary.apply(key, runs);
  if (sequence !== null) {
    if (slot.cache !== null) throw generationUnsupported(sequence.parts);
    return mergeHeads(sequence.attention(q, k, value, options));
  }
  const [keys, values] = slot.cache === null ? [k, value] : slot.cache.append(slot.layer, k, value);
  return mergeHeads(attention(q, keys, values, options));
}
