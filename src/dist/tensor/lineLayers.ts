/**
 * Models under 1D tensor parallelism without a change to them: their linear layers in pairs, cut by outputs and then by inputs,
 * their vocabulary by ids. What lies between pairs is whole on every rank.
 */
import {
  type FeatureCut,
  type LayerFactory,
  Linear,
  LinearInOut,
  type LinearOptions,
  type LinearParts,
  randomKeys,
  type WholeOf,
  wholeLayers,
} from '../../nn/index.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { requireUnits } from './featureCut.ts';
import { HeadNorm } from './headNorm.ts';
import { rangesOf } from './layout.ts';
import { VocabularyEmbedding1D, VocabularyHead1D } from './oneD.ts';
import { copyToGroup, reduceFromGroup } from './operators.ts';
import type { LinePlace } from './places.ts';

/** What a layer does around its product: before it where it is cut by outputs, after it where by inputs. */
type Around = (x: Tensor) => Tensor;

class ColumnLinear extends Linear {
  readonly #before: Around;

  constructor(inFeatures: number, outFeatures: number, options: LinearOptions, before: Around) {
    super(inFeatures, outFeatures, options);
    this.#before = before;
  }

  override forward(x: Tensor): Tensor {
    return super.forward(this.#before(x));
  }
}

class RowLinear extends Linear {
  readonly #after: Around;

  constructor(inFeatures: number, outFeatures: number, options: LinearOptions, after: Around) {
    super(inFeatures, outFeatures, options);
    this.#after = after;
  }

  override forward(x: Tensor): Tensor {
    const y = this.#after(ops.linear(x, this.weight.tensor));
    return this.bias === null ? y : ops.add(y, this.bias.tensor);
  }
}

type InOutArguments = ConstructorParameters<typeof LinearInOut>;

class ColumnLinearInOut extends LinearInOut {
  readonly #before: Around;

  constructor(before: Around, ...rest: InOutArguments) {
    super(...rest);
    this.#before = before;
  }

  override forward(x: Tensor): Tensor {
    return super.forward(this.#before(x));
  }
}

class RowLinearInOut extends LinearInOut {
  readonly #after: Around;

  constructor(after: Around, ...rest: InOutArguments) {
    super(...rest);
    this.#after = after;
  }

  override forward(x: Tensor): Tensor {
    return ops.add(this.#after(ops.matmul(x, this.weight.tensor)), this.bias.tensor);
  }
}

/** Makes a model's layers for one place on the line: `withLayers(lineLayers(lineOf(mesh)), () => buildModel(…))`. */
export function lineLayers(place: LinePlace): LayerFactory {
  const { line } = place.groups;
  const enter: Around = (x) => copyToGroup(x, line);
  const leave: Around = (x) => reduceFromGroup(x, line);
  const before = ({ entered = false }: FeatureCut): Around => (entered ? (x) => x : enter);
  return {
    ...wholeLayers,
    linear(inFeatures, outFeatures, options, cut) {
      const parts = partsOf([outFeatures, inFeatures], cut.along === 'out' ? 0 : 1, 0, cut, line);
      const all = { ...options, parts };
      return cut.along === 'out'
        ? new ColumnLinear(inFeatures, outFeatures, all, before(cut))
        : new RowLinear(inFeatures, outFeatures, all, leave);
    },
    linearInOut(inFeatures, outFeatures, init, biasInit, cut) {
      const parts = partsOf([inFeatures, outFeatures], cut.along === 'out' ? 1 : 0, 1, cut, line);
      return cut.along === 'out'
        ? new ColumnLinearInOut(before(cut), inFeatures, outFeatures, init, biasInit, parts)
        : new RowLinearInOut(leave, inFeatures, outFeatures, init, biasInit, parts);
    },
    enter,
    drawApart: (body) => randomKeys.apart(line.rank, body),
    headNorm: (size, epsilon) => new HeadNorm(size, epsilon, [line]),
    embedding: (vocabulary, width, init) => new VocabularyEmbedding1D(vocabulary, width, { init, place }),
    head: (width, vocabulary, { init, weight }) =>
      new VocabularyHead1D(width, vocabulary, weight === null ? { init, place } : { weight, place }),
  };
}

/** The part of a weight that is cut along dimension `cutDim`, and of the bias along `outDim` where that is the same. */
function partsOf(
  shape: readonly [number, number],
  cutDim: 0 | 1,
  outDim: 0 | 1,
  cut: FeatureCut,
  line: Group,
): LinearParts {
  const features = shape[cutDim];
  requireUnits(features, cut, line.size, `tp ${line.size}`);
  const ranges = rangesOf(features, ['line'], { line }, 'features', cut.sections);
  const all = (size: number): WholeOf['ranges'][number] => [{ begin: 0, end: size }];
  const weight = { shape, ranges: shape.map((size, dim) => (dim === cutDim ? ranges : all(size))) };
  return { weight, bias: cutDim === outDim ? { shape: [features], ranges: [ranges] } : null };
}
