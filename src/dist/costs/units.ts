/**
 * What a rank receives in the units of a decoder-only model for one micro-batch, in elements, exactly as the groups' counters
 * count. 1D tensor parallelism as in Shoeybi et al. 2019: an all-reduce behind each row-cut layer forward, one behind each
 * column-cut layer backward.
 */
import { others } from './linear.ts';

export interface UnitsShape {
  /** Tokens of the micro-batch on this rank. */
  readonly rows: number;
  readonly width: number;
  /** Elements of the norms of single heads, which get one gradient of all heads. */
  readonly headNorms: number;
  /** Rows that go through MLPs, where these are experts: several for each token. Default `rows`. */
  readonly mlpRows?: number;
}

export type UnitKind = 'embedding' | 'block' | 'head';

export interface UnitVolume {
  /** In the compute type, forward and backward. */
  readonly forward: number;
  readonly backward: number;
  /** In the type of losses, forward. */
  readonly wide: number;
}

/** Elements that a rank receives in one unit, without recomputation. */
export function tensorUnitVolume(
  kind: UnitKind,
  ranks: number,
  { rows, width, headNorms, mlpRows = rows }: UnitsShape,
): UnitVolume {
  const sum = 2 * others(ranks);
  const whole = rows * width;
  if (kind === 'embedding') return { forward: sum * whole, backward: 0, wide: 0 };
  if (kind === 'block') {
    const both = whole + mlpRows * width;
    return { forward: sum * both, backward: sum * (both + headNorms), wide: 0 };
  }
  // The largest logit, the sum of exponentials and the target's logit of each token.
  return { forward: 0, backward: sum * whole, wide: 3 * sum * rows };
}
