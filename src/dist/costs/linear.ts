/**
 * What a linear layer Y[M, N] = X[M, K] W[K, N] costs in communication when it is cut over ranks: elements received per
 * rank that were not its own. Ring all-gather and reduce-scatter of a result S over g ranks: (g-1)/g S; ring all-reduce
 * twice that; broadcast or reduce, each rank being root in turn: (g-1)/g S.
 *
 * 1D: Shoeybi et al. 2019. 2D (SUMMA): Xu et al. 2021. 2.5D: Wang et al. 2021. 3D: Bian et al. 2021.
 */
import { check } from '../../core/errors.ts';

export interface LinearShape {
  /** M: tokens. */
  readonly tokens: number;
  /** K. */
  readonly inputs: number;
  /** N. */
  readonly outputs: number;
  /** For 1D: weight cut by columns, whose input is whole, or by rows, whose output is summed. */
  readonly cut: 'column' | 'row';
}

/** How a tensor group is arranged: p ranks, q x q, d layers of q x q, or a cube of side d. */
export type TensorMode =
  | { readonly kind: '1d'; readonly ranks: number }
  | { readonly kind: '2d'; readonly side: number }
  | { readonly kind: '2.5d'; readonly side: number; readonly depth: number }
  | { readonly kind: '3d'; readonly side: number };

export interface LinearVolume {
  readonly forward: number;
  readonly inputGradient: number;
  readonly weightGradient: number;
}

export function ranksOfMode(mode: TensorMode): number {
  if (mode.kind === '1d') return mode.ranks;
  if (mode.kind === '2d') return mode.side ** 2;
  return mode.kind === '3d' ? mode.side ** 3 : mode.depth * mode.side ** 2;
}

/** The part of a whole that the other ranks of g hold. */
export const others = (ranks: number): number => (ranks - 1) / ranks;

/** Elements received per rank, without biases. */
export function linearVolume(mode: TensorMode, { tokens, inputs, outputs, cut }: LinearShape): LinearVolume {
  const [mk, kn, mn] = [tokens * inputs, inputs * outputs, tokens * outputs];
  check(ranksOfMode(mode) >= 1, `costs: a tensor group of ${ranksOfMode(mode)} ranks`);
  if (mode.kind === '1d') {
    const both = 2 * others(mode.ranks);
    return cut === 'column'
      ? { forward: 0, inputGradient: both * mk, weightGradient: 0 }
      : { forward: both * mn, inputGradient: 0, weightGradient: 0 };
  }
  if (mode.kind === '3d') {
    const share = others(mode.side) / mode.side ** 2;
    return { forward: share * (mk + kn + mn), inputGradient: share * (mn + mk), weightGradient: share * kn };
  }
  // Three products of q steps each: A B, A Bt, At B.
  const depth = mode.kind === '2d' ? 1 : mode.depth;
  const product = (others(mode.side) / mode.side) * (mk / depth + kn);
  const overDepth = (2 * others(depth) * kn) / mode.side ** 2;
  return { forward: product, inputGradient: product, weightGradient: product + overDepth };
}
