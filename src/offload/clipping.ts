import type { Parameter } from '../nn/index.ts';

export interface GlobalNorm {
  readonly norm: number;
  readonly clipFactor: number;
  readonly nonFinite: string | null;
  /** All parameters with an infinite or NaN gradient, in parameter order. */
  readonly nonFiniteParameters: readonly string[];
}

/** Sum of squares of one parameter's gradient, and how many of its elements are infinite or NaN. */
export interface ParameterNorm {
  readonly parameter: Parameter;
  readonly sum: number;
  readonly nonFinite: number;
}

/**
 * The global norm from per-parameter sums of squares, added in parameter order (so that chunks, tiers and ranks cannot
 * change it), and the factor that brings it to `clipNorm`: `clipNorm / norm` above it, 1 otherwise. The loss scale is taken out first.
 */
export function globalNorm(sums: Iterable<ParameterNorm>, clipNorm: number | null, lossScale: number): GlobalNorm {
  let total = 0;
  const bad: string[] = [];
  for (const entry of sums) {
    total += entry.sum;
    if (entry.nonFinite > 0) bad.push(entry.parameter.name);
  }
  const norm = Math.sqrt(total) / lossScale;
  const clipFactor = clipNorm === null || !(norm > clipNorm) ? 1 : clipNorm / norm;
  return { norm, clipFactor, nonFinite: bad[0] ?? null, nonFiniteParameters: bad };
}
