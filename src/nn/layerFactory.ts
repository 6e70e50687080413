/**
 * The seam by which a layout decides how a model's layers are made: models ask `layers()` for those whose features may be cut over
 * ranks, and say along which side; who cuts them (`src/dist/tensor`) implements this interface, and `withLayers` puts it in
 * place while a model is built. Without it, layers are whole.
 *
 * What passes between a model's layers is this rank's part of the batch's rows and of the width: the embedding takes whole batches of
 * ids and the head whole batches of labels, so that nobody else needs to know which part that is.
 */
import type { Tensor } from '../tensor/index.ts';
import type { Initializer } from './init.ts';
import { Dropout } from './layers/dropout.ts';
import { Embedding } from './layers/embedding.ts';
import { Linear, LinearInOut, type LinearOptions } from './layers/linear.ts';
import { LayerNorm, RMSNorm } from './layers/norm.ts';
import { linearCrossEntropy } from './losses.ts';
import type { Module } from './module.ts';
import type { Parameter } from './parameter.ts';

/** Along which side a linear layer may be cut: by what it gives (its consumer is cut `in`) or by what it takes. */
export interface FeatureCut {
  readonly along: 'out' | 'in';
  /** Features that must stay together, e.g. a head's. Default 1. */
  readonly unit?: number;
  /** Equal sections side by side, each cut by itself, e.g. query, key and value. Default 1. */
  readonly sections?: number;
  /** Its input has gone through `enter`, together with that of the layers beside it. */
  readonly entered?: boolean;
}

export type LinearLayer = Module<[Tensor], Tensor> & { readonly weight: Parameter; readonly bias: Parameter | null };
export type NormLayer = Module<[Tensor], Tensor> & { readonly weight: Parameter };
/** `isTable`: nobody multiplies with the weight, rows of it are looked up. */
export type EmbeddingLayer = Module<[Tensor], Tensor> & { readonly weight: Parameter; readonly isTable: true };
/**
 * hidden `[..., width]` to logits `[..., vocabulary]`, or with labels int64 `[...]` of a whole batch to their mean loss in nats. Where the
 * rows are cut, batches that do not divide are filled up with rows without labels: logits may be of more rows than were put in.
 */
export type HeadLayer = Module<[Tensor], Tensor> & {
  readonly weight: Parameter;
  loss(hidden: Tensor, labels: Tensor): Tensor;
  /** The graph of `loss` holds its arguments and a few numbers per token: no logits, no probabilities. Default false. */
  readonly fusesLoss?: boolean;
};

export interface HeadOptions {
  readonly init: Initializer;
  /** The embedding's weight where they share it. */
  readonly weight: Parameter | null;
}

export interface LayerFactory {
  linear(inFeatures: number, outFeatures: number, options: LinearOptions, cut: FeatureCut): LinearLayer;
  linearInOut(
    inFeatures: number,
    outFeatures: number,
    init: Initializer,
    biasInit: Initializer,
    cut: FeatureCut,
  ): LinearLayer;
  /** What several layers cut `out` take goes through this once, so that its gradient is summed once. */
  enter(x: Tensor): Tensor;
  /** What is drawn at random in `body` is for heads or features of this rank's own. */
  drawApart<Result>(body: () => Result): Result;
  /** Norms inside cut heads: every rank uses the weight `[size]` on heads of its own. */
  headNorm(size: number, epsilon: number): NormLayer;
  /** Norms over the whole width of what passes between layers. */
  layerNorm(width: number, epsilon: number): NormLayer;
  rmsNorm(width: number, epsilon: number): NormLayer;
  /** Dropout of what passes between layers. */
  dropout(probability: number): Module<[Tensor], Tensor>;
  /** Rows of a vocabulary: ids `[b, t]` of a whole batch to what passes between layers. */
  embedding(vocabulary: number, width: number, init: Initializer): EmbeddingLayer;
  /** Rows of a table that all samples use alike, such as positions: ids `[t]` to `[t, width]`, the width as between layers. */
  table(rows: number, width: number, init: Initializer): EmbeddingLayer;
  head(width: number, vocabulary: number, options: HeadOptions): HeadLayer;
  /**
   * How rows and width are cut where ranks have blocks of what passes between layers; null: every rank has all of it, and layers
   * that need whole rows may be made without this factory.
   */
  readonly blocks: { readonly rows: number; readonly width: number } | null;
}

class WholeHead extends Linear {
  readonly fusesLoss = true;

  /** In chunks of tokens, so that the logits of all never exist. */
  loss(hidden: Tensor, labels: Tensor): Tensor {
    return linearCrossEntropy(hidden, this.weight.tensor, labels);
  }
}

/** Layers on one rank; a factory of your own can begin with these. */
export const wholeLayers: LayerFactory = {
  linear: (inFeatures, outFeatures, options) => new Linear(inFeatures, outFeatures, options),
  linearInOut: (inFeatures, outFeatures, init, biasInit) => new LinearInOut(inFeatures, outFeatures, init, biasInit),
  enter: (x) => x,
  drawApart: (body) => body(),
  headNorm: (size, epsilon) => new RMSNorm(size, epsilon),
  layerNorm: (width, epsilon) => new LayerNorm(width, { epsilon }),
  rmsNorm: (width, epsilon) => new RMSNorm(width, epsilon),
  dropout: (probability) => new Dropout(probability),
  embedding: (vocabulary, width, init) => new Embedding(vocabulary, width, init),
  table: (rows, width, init) => new Embedding(rows, width, init),
  head: (width, vocabulary, { init, weight }) =>
    new WholeHead(width, vocabulary, weight === null ? { bias: false, init } : { bias: false, weight }),
  blocks: null,
};

let active = wholeLayers;

/** Who makes the layers of the model that is being built. */
export const layers = (): LayerFactory => active;

/** Runs `build`, whose models get their layers from `factory`. */
export function withLayers<Result>(factory: LayerFactory, build: () => Result): Result {
  const before = active;
  active = factory;
  try {
    return build();
  } finally {
    active = before;
  }
}
