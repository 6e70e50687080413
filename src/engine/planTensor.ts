/** How `parallel.tp` ranks divide a model and what passes between its layers, for plans. */
import type { Config } from '../config/index.ts';
import { blockLayers, lineLayers, plannedPlace } from '../dist/tensor/index.ts';
import { buildModel } from '../models/index.ts';
import { withLayers } from '../nn/index.ts';
import type { BlockShape } from './planBatch.ts';

export interface TensorDivision {
  readonly ranks: number;
  /** Parts of heads, hidden widths and the vocabulary. */
  readonly inside: number;
  /** Parts of what passes between layers: of the sequences of a batch, and of their width. */
  readonly rows: number;
  readonly width: number;
  /** How products are made; null in 1D. */
  readonly blocks: BlockShape | null;
}

type Tensor = Pick<Config['parallel'], 'tp' | 'tensor' | 'depth'>;

export function tensorDivision({ tp, tensor, depth }: Tensor): TensorDivision {
  const place = plannedPlace(tp === 1 ? '1d' : tensor, tp, depth);
  if (place.kind === '1d') return { ranks: tp, inside: tp, rows: 1, width: 1, blocks: null };
  const { edge, kind } = place;
  const layers = kind === '2.5d' ? place.depth : 1;
  const rows = kind === '3d' ? edge ** 2 : edge * layers;
  return { ranks: tp, inside: edge, rows, width: edge, blocks: { isCube: kind === '3d', edge, depth: layers } };
}

/** The model as one rank builds it: the first, than which no other has more. */
export const buildCut =
  ({ tp, tensor, depth }: Tensor): typeof buildModel =>
  (settings) => {
    if (tp === 1) return buildModel(settings);
    const place = plannedPlace(tensor, tp, depth);
    return withLayers(place.kind === '1d' ? lineLayers(place) : blockLayers(place), () => buildModel(settings));
  };
