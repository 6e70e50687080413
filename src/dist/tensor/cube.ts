/**
 * 3D tensor parallelism (Bian et al. 2021): ranks (i, j, k) of a cube; activations, weights and results are each gathered or summed
 * along another edge. Features are cut by `output` (k) or `input` (j); every linear layer turns one into the other, which its
 * `features` says and its argument's layout must match.
 *
 * Blocks, with `features: 'output'`: x `[M / d² (weight, input), K / d (output)]`, W `[K / d (output), N / d² (input, weight)]`, stored so
 * or transposed, y `[M / d² (weight, output), N / d (input)]`. Volume forward and backward 2 (d-1)/d³ (MK + KN + MN).
 */
import { init as inits, Module, type Parameter } from '../../nn/index.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import { type Layout, requireLayout, type Sharded } from './layout.ts';
import { rootMeanSquareOf, wideOf } from './norms.ts';
import { addBiasOnce, copyToGroup, gatherFromGroup, parallelCrossEntropy, reduceScatterToGroup } from './operators.ts';
import { type CubePlace, placeFor } from './places.ts';
import {
  type LinearStorage,
  likeRowsOf,
  linearInit,
  maskedRows,
  meanLoss,
  partParameter,
  rowsOf,
  storedAs,
} from './support.ts';
import { filled, knownColumns, rowsOfBlock, tableParameter } from './vocabulary.ts';

/** Which edge cuts the features. */
export type FeatureEdge = 'input' | 'output';

export interface CubeOptions {
  readonly place?: CubePlace;
  /** How the features come in. Default `output`. */
  readonly features?: FeatureEdge;
}

const other = (edge: FeatureEdge): FeatureEdge => (edge === 'input' ? 'output' : 'input');

/** Activations whose features are cut by `edge`. */
export const cubeLayout = (rows: number, width: number, edge: FeatureEdge): Layout => ({
  shape: [rows, width],
  cuts: [['weight', other(edge)], [edge]],
});

export interface Linear3DOptions extends CubeOptions, LinearStorage {
  readonly bias?: boolean;
  readonly init?: inits.Initializer;
  readonly biasInit?: inits.Initializer;
}

/** `x [M / d, K / d]` times `w [K / d, N / d]`, both gathered; the sum goes to where its rows belong. */
function product(x: Sharded, w: Tensor, bias: Parameter | null, edge: FeatureEdge, place: CubePlace): Tensor {
  const { groups } = place;
  const whole = gatherFromGroup(rowsOf(x.tensor), groups[other(edge)], 0, true);
  const partial = ops.mm(whole, w);
  const summands =
    bias === null ? partial : addBiasOnce(partial, copyToGroup(bias.tensor, groups.weight), groups[edge].rank === 0);
  return likeRowsOf(reduceScatterToGroup(summands, groups[edge], 0), x.tensor);
}

/** `y = x W + b`. Bias `[N / d]`, cut like y's features. */
export class Linear3D extends Module<[Sharded], Sharded> {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly #place: CubePlace;
  readonly #edge: FeatureEdge;
  readonly #in: number;
  readonly #out: number;
  readonly #stored: 'in-out' | 'out-in';

  constructor(inFeatures: number, outFeatures: number, options: Linear3DOptions = {}) {
    super();
    this.#place = placeFor('Linear3D', ['3d'], options.place);
    const edge = options.features ?? 'output';
    this.#edge = edge;
    this.#in = inFeatures;
    this.#out = outFeatures;
    const { groups } = this.#place;
    const { sections = 1 } = options;
    this.#stored = options.stored ?? 'in-out';
    const inOut = { shape: [inFeatures, outFeatures], cuts: [[edge], [other(edge), 'weight']] };
    const { layout, sections: both } = storedAs(this.#stored, inOut, sections);
    const bias = { shape: [outFeatures], cuts: [[other(edge)]] };
    this.weight = partParameter(layout, options.init ?? linearInit(inFeatures), groups, 'features', both);
    const biasInit = options.biasInit ?? linearInit(inFeatures);
    this.bias = options.bias === false ? null : partParameter(bias, biasInit, groups, 'features', [sections]);
  }

  forward(x: Sharded): Sharded {
    const rows = x.layout.shape[0]!;
    requireLayout('Linear3D', x, cubeLayout(rows, this.#in, this.#edge));
    const isInOut = this.#stored === 'in-out';
    const stored = gatherFromGroup(this.weight.tensor, this.#place.groups.weight, isInOut ? 1 : 0, true);
    const weight = isInOut ? stored : ops.transpose(stored, 0, 1);
    const tensor = product(x, weight, this.bias, this.#edge, this.#place);
    return { tensor, layout: cubeLayout(rows, this.#out, other(this.#edge)) };
  }
}

type NormOptions = CubeOptions & { readonly epsilon?: number };

/** Norms over features that are cut by an edge: every rank with these features uses the parameters on other rows. */
abstract class Norm3D extends Module<[Sharded], Sharded> {
  readonly weight: Parameter;
  readonly epsilon: number;
  readonly #name: string;
  readonly #place: CubePlace;
  readonly #edge: FeatureEdge;
  readonly #width: number;

  constructor(name: string, width: number, options: NormOptions, epsilon: number) {
    super();
    this.#name = name;
    this.#place = placeFor(name, ['3d'], options.place);
    this.#edge = options.features ?? 'output';
    this.#width = width;
    this.epsilon = options.epsilon ?? epsilon;
    this.weight = this.part(inits.ones);
  }

  protected part(init: inits.Initializer): Parameter {
    return partParameter({ shape: [this.#width], cuts: [[this.#edge]] }, init, this.#place.groups, 'width');
  }

  protected shared({ tensor }: Parameter): Tensor {
    const { groups } = this.#place;
    return copyToGroup(copyToGroup(tensor, groups.weight), groups[other(this.#edge)]);
  }

  protected abstract scaled(normal: Tensor): Tensor;
  protected abstract normalOf: typeof wideOf;

  forward(x: Sharded): Sharded {
    requireLayout(this.#name, x, cubeLayout(x.layout.shape[0]!, this.#width, this.#edge));
    const normal = this.normalOf(x.tensor, this.#width, this.epsilon, this.#place.groups[this.#edge]);
    return { tensor: this.scaled(normal), layout: x.layout };
  }
}

/** Layer normalisation: two all-reduces of a number per token each way. */
export class LayerNorm3D extends Norm3D {
  readonly bias: Parameter;
  protected override readonly normalOf = wideOf;

  constructor(width: number, options: NormOptions = {}) {
    super('LayerNorm3D', width, options, 1e-5);
    this.bias = this.part(inits.zeros);
  }

  protected override scaled(normal: Tensor): Tensor {
    return ops.add(ops.mul(normal, this.shared(this.weight)), this.shared(this.bias));
  }
}

/** Root-mean-square normalisation likewise: one all-reduce each way. */
export class RMSNorm3D extends Norm3D {
  protected override readonly normalOf = rootMeanSquareOf;

  constructor(width: number, options: NormOptions = {}) {
    super('RMSNorm3D', width, options, 1e-6);
  }

  protected override scaled(normal: Tensor): Tensor {
    return ops.mul(this.shared(this.weight), normal);
  }
}

/** A table whose rows all ranks need, cut by its columns over all edges and gathered for use. For positions. */
export class Embedding3D extends Module<[Sharded], Sharded> {
  readonly weight: Parameter;
  readonly isTable = true;
  readonly #place: CubePlace;
  readonly #edge: FeatureEdge;
  readonly #width: number;

  constructor(rows: number, width: number, options: CubeOptions & { readonly init?: inits.Initializer } = {}) {
    super();
    this.#place = placeFor('Embedding3D', ['3d'], options.place);
    this.#edge = options.features ?? 'output';
    this.#width = width;
    const layout = { shape: [rows, width], cuts: [[], [this.#edge, other(this.#edge), 'weight']] };
    this.weight = partParameter(layout, options.init ?? inits.normal(1), this.#place.groups, 'width');
  }

  /** ids: tokens cut as `cubeLayout`'s rows, `[M / d²]`. */
  forward(ids: Sharded): Sharded {
    const { groups } = this.#place;
    const rows = ids.layout.shape[0]!;
    requireLayout('Embedding3D', ids, { shape: [rows], cuts: [['weight', other(this.#edge)]] });
    const part = gatherFromGroup(this.weight.tensor, groups.weight, 1, true);
    const table = gatherFromGroup(part, groups[other(this.#edge)], 1, true);
    return { tensor: ops.embedding(table, ids.tensor), layout: cubeLayout(rows, this.#width, this.#edge) };
  }
}

const tableLayout = (rows: number, width: number, edge: FeatureEdge): Layout => ({
  shape: [rows, width],
  cuts: [[other(edge), 'weight'], [edge]],
});

/** Embedding cut by ids. Weight `[V / d² (input, weight), width / d (output)]`. */
export class VocabularyEmbedding3D extends Module<[Sharded], Sharded> {
  readonly weight: Parameter;
  readonly isTable = true;
  readonly #place: CubePlace;
  readonly #edge: FeatureEdge;
  readonly #rows: number;
  readonly #width: number;

  constructor(vocabulary: number, width: number, options: CubeOptions & { readonly init?: inits.Initializer } = {}) {
    super();
    this.#place = placeFor('VocabularyEmbedding3D', ['3d'], options.place);
    this.#edge = options.features ?? 'output';
    this.#width = width;
    const layout = tableLayout(vocabulary, width, this.#edge);
    this.#rows = rowsOfBlock(vocabulary, layout.cuts[0]!, this.#place.groups);
    this.weight = tableParameter(layout, options.init ?? inits.normal(1), this.#place.groups);
  }

  /** ids: tokens cut by `weight`, `[M / d]`. */
  forward(ids: Sharded): Sharded {
    const { groups } = this.#place;
    const rows = ids.layout.shape[0]!;
    requireLayout('VocabularyEmbedding3D', ids, { shape: [rows], cuts: [['weight']] });
    const table = gatherFromGroup(filled(this.weight.tensor, this.#rows), groups.weight, 0, true);
    const begin = table.size(0) * groups[other(this.#edge)].rank;
    const tensor = reduceScatterToGroup(maskedRows(table, ids.tensor, begin), groups[other(this.#edge)], 0);
    return { tensor, layout: cubeLayout(rows, this.#width, this.#edge) };
  }
}

/** The projection to the vocabulary, able to share `VocabularyEmbedding3D`'s weight, and its loss. */
export class VocabularyHead3D extends Module<[Sharded], Sharded> {
  readonly weight: Parameter;
  readonly #place: CubePlace;
  readonly #edge: FeatureEdge;
  readonly #width: number;
  readonly #vocabulary: number;
  /** Of a whole block. */
  readonly #rows: number;

  constructor(
    width: number,
    vocabulary: number,
    options: CubeOptions & { readonly init?: inits.Initializer; readonly weight?: Parameter } = {},
  ) {
    super();
    this.#place = placeFor('VocabularyHead3D', ['3d'], options.place);
    this.#edge = options.features ?? 'output';
    this.#width = width;
    this.#vocabulary = vocabulary;
    const layout = tableLayout(vocabulary, width, this.#edge);
    const init = options.init ?? linearInit(width);
    this.#rows = rowsOfBlock(vocabulary, layout.cuts[0]!, this.#place.groups);
    this.weight = options.weight ?? tableParameter(layout, init, this.#place.groups);
  }

  /** Logits `[M / d² (weight, output), V / d (input)]`, zeros at the end where the vocabulary does not divide. */
  forward(x: Sharded): Sharded {
    const rows = x.layout.shape[0]!;
    requireLayout('VocabularyHead3D', x, cubeLayout(rows, this.#width, this.#edge));
    const { edge, groups } = this.#place;
    const table = gatherFromGroup(filled(this.weight.tensor, this.#rows), groups.weight, 0, true);
    const tensor = product(x, ops.transpose(table, 0, 1), null, this.#edge, this.#place);
    return { tensor, layout: cubeLayout(rows, table.size(0) * edge, other(this.#edge)) };
  }

  /** Mean loss in nats; targets are cut like the logits' rows. The same on every rank. */
  loss(x: Sharded, targets: Sharded): Tensor {
    const { groups } = this.#place;
    const logits = this.call(x);
    requireLayout('the loss', targets, { shape: [x.layout.shape[0]!], cuts: [['weight', this.#edge]] });
    const columns = other(this.#edge);
    const begin = logits.tensor.size(-1) * groups[columns].rank;
    const flat = ops.reshape(targets.tensor, [-1]);
    const known = knownColumns(rowsOf(logits.tensor), begin, this.#vocabulary);
    const losses = parallelCrossEntropy(known, flat, begin, groups[columns]);
    return meanLoss(losses, flat, [groups.weight, groups[this.#edge]]);
  }
}
