/** `parallel.tp`: every rank of a line holds a part of each matrix, and the model is built from layers that know it (1D). */
import { lineLayers, lineOf } from '../dist/tensor/index.ts';
import { withLayers } from '../nn/index.ts';
import type { Context } from './launch.ts';
import { meshOf } from './mesh.ts';

/**
 * Builds a model, or several, as `parallel.tp` asks: `underTensorParallel(context, () => new Llama(config))`. Models of
 * `src/models` ask `layers()` for what may be cut; others are whole on every rank.
 */
export function underTensorParallel<Result>(context: Context, build: () => Result): Result {
  return context.config.parallel.tp === 1 ? build() : withLayers(lineLayers(lineOf(meshOf(context))), build);
}
