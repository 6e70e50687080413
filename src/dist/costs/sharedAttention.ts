/**
 * What a rank receives in one block's attention over a sequence that it shares, for one micro-batch, in elements, exactly as the
 * group's counters count. `heads`: Jacobs et al. 2023; `scores`: Li et al. 2021; `ring`: Liu, Zaharia, Abbeel 2023.
 */
import { others } from './linear.ts';

export interface SharedAttentionShape {
  /** Tokens of the micro-batch on this rank. */
  readonly rows: number;
  /** Of this rank, after tensor parallelism. */
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headSize: number;
  /** How often `heads` sends each key/value head (`copiesOfHeads`). Default 1. */
  readonly copies?: number;
}

export interface SharedAttentionVolume {
  /** In the compute type, each time forward runs, and in backward. */
  readonly forward: number;
  readonly backward: number;
  /** In the type of states, in backward: gradients that collect on their way around a ring. */
  readonly wide: number;
  readonly forwardMessages: number;
  readonly backwardMessages: number;
}

export function sharedAttentionVolume(
  mode: 'ring' | 'heads' | 'scores',
  ranks: number,
  { rows, heads, keyValueHeads, headSize, copies = 1 }: SharedAttentionShape,
): SharedAttentionVolume {
  const keys = rows * keyValueHeads * headSize;
  const away = ranks - 1;
  if (mode === 'heads') {
    const queries = rows * heads * headSize;
    // Query, key and value there, the output back; the same the other way round.
    const each = others(ranks) * (2 * queries + 2 * keys * copies);
    return { forward: each, backward: each, wide: 0, forwardMessages: 4, backwardMessages: 4 };
  }
  // Keys and values of all others come by. Under `scores` their gradients are scattered from whole sums.
  const around = 2 * away * keys;
  if (mode === 'scores') {
    return {
      forward: around,
      backward: 2 * around,
      wide: 0,
      forwardMessages: 2 * away,
      backwardMessages: 2 * away + 2,
    };
  }
  return { forward: around, backward: around, wide: around, forwardMessages: away, backwardMessages: 2 * away };
}
