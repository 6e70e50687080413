/** `parallel.tp` and `parallel.tensor`: ranks hold parts of each matrix, and the model is built from layers that know which. */

import { TierraError } from '../core/errors.ts';
import { blockLayers, cubeOf, deepSquareOf, lineLayers, lineOf, squareOf } from '../dist/tensor/index.ts';
import { type LayerFactory, withLayers } from '../nn/index.ts';
import type { Context } from './launch.ts';
import { meshOf } from './mesh.ts';

/** Ranks make the groups of a place together, and once. */
const known = new WeakMap<Context, LayerFactory>();

function layersOf(context: Context): LayerFactory {
  let factory = known.get(context);
  if (factory === undefined) {
    factory = makeLayers(context);
    known.set(context, factory);
  }
  return factory;
}

function makeLayers(context: Context): LayerFactory {
  const { tensor, depth } = context.config.parallel;
  const mesh = meshOf(context);
  switch (tensor) {
    case '1d':
      return lineLayers(lineOf(mesh));
    case '2d':
      return blockLayers(squareOf(mesh));
    case '2.5d':
      return blockLayers(deepSquareOf(mesh, depth!));
    case '3d':
      return blockLayers(cubeOf(mesh));
  }
}

/**
 * Builds a model, or several, as `parallel.tp` asks: `underTensorParallel(context, () => new Llama(config))`. Models of
 * `src/models` ask `layers()` for what may be cut; others are whole on every rank.
 */
export function underTensorParallel<Result>(context: Context, build: () => Result): Result {
  return context.config.parallel.tp === 1 ? build() : withLayers(layersOf(context), build);
}

/** Throws `E_CONFIG` where batches over `dataRanks` cannot be cut into equal blocks of whole sequences. Others are filled up with rows that count for nothing. */
export function checkBlocks(context: Context, dataRanks: number): void {
  const { parallel, train } = context.config;
  if (parallel.tp === 1) return;
  const parts = layersOf(context).blocks?.rows ?? 1;
  const sequences = train.batchSize / dataRanks;
  if (!Number.isInteger(sequences) || sequences % parts === 0) return;
  throw new TierraError(
    'E_CONFIG',
    `train.batchSize: ${train.batchSize} over ${dataRanks} data ranks are ${sequences} sequences each, and parallel.tensor: ${parallel.tensor} over tp ${parallel.tp} cuts them into ${parts}: ${sequences} / ${parts} is not whole`,
    { hint: `Take a multiple of ${dataRanks * parts}, or fewer ranks.` },
  );
}
