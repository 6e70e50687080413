/**
 * The seam by which a layout decides how a model's layers are made: models ask `layers()` for those whose features may be cut over
 * ranks, and say along which side; who cuts them (`src/dist/tensor`) implements this interface, and `withLayers` puts it in
 * place while a model is built. Without it, layers are whole.
 */
import type { Tensor } from '../tensor/index.ts';
import type { Initializer } from './init.ts';
import { Embedding } from './layers/embedding.ts';
import { Linear, LinearInOut, type LinearOptions } from './layers/linear.ts';
import { RMSNorm } from './layers/norm.ts';
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
export type EmbeddingLayer = Module<[Tensor], Tensor> & { readonly weight: Parameter };
/** hidden `[..., width]` to logits `[..., vocabulary]`, or with labels int64 `[...]` to their mean loss in nats. */
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
  headNorm(size: number, epsilon: number): Module<[Tensor], Tensor>;
  /** Rows of a vocabulary. */
  embedding(vocabulary: number, width: number, init: Initializer): EmbeddingLayer;
  head(width: number, vocabulary: number, options: HeadOptions): HeadLayer;
}

class WholeHead extends Linear {
  readonly fusesLoss = true;

  /** In chunks of tokens, so that the logits of all never exist. */
  loss(hidden: Tensor, labels: Tensor): Tensor {
    return linearCrossEntropy(hidden, this.weight.tensor, labels);
  }
}

const whole: LayerFactory = {
  linear: (inFeatures, outFeatures, options) => new Linear(inFeatures, outFeatures, options),
  linearInOut: (inFeatures, outFeatures, init, biasInit) => new LinearInOut(inFeatures, outFeatures, init, biasInit),
  enter: (x) => x,
  drawApart: (body) => body(),
  headNorm: (size, epsilon) => new RMSNorm(size, epsilon),
  embedding: (vocabulary, width, init) => new Embedding(vocabulary, width, init),
  head: (width, vocabulary, { init, weight }) =>
    new WholeHead(width, vocabulary, weight === null ? { bias: false, init } : { bias: false, weight }),
};

let active = whole;

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
