/**
 * 2D (Xu et al. 2021) and 2.5D (Wang et al. 2021) tensor parallelism: every matrix in q x q blocks, products by SUMMA. In 2.5D
 * `depth` layers of such squares hold equal weights and other samples; weight gradients are summed over the depth.
 *
 * Blocks: x `[M / (d q), K / q]`, rows cut by depth, then column; W `[K / q, N / q]`, stored `[in, out]` or `[out, in]`; vectors as wide as
 * the features are cut by row, then column, and gathered for use, so that no rank keeps a copy that nobody reads.
 */
import { init as inits, Module, type Parameter } from '../../nn/index.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { type Layout, requireLayout, type Sharded } from './layout.ts';
import { rootMeanSquareOf, wideOf } from './norms.ts';
import {
  copyToGroup,
  gatherFromGroup,
  parallelCrossEntropy,
  reduceScatterToGroup,
  summaAB,
  summaABt,
} from './operators.ts';
import { type DeepPlace, placeFor, type SquarePlace } from './places.ts';
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

type Squares = SquarePlace | DeepPlace;
const kinds = ['2d', '2.5d'] as const;

export interface SquareOptions {
  readonly place?: Squares;
}

const rowCuts = (place: Squares): readonly string[] => (place.kind === '2d' ? ['column'] : ['depth', 'column']);

/** How activations are cut: tokens by depth and column, features by row. */
export const squareLayout = (place: Squares, rows: number, width: number): Layout => ({
  shape: [rows, width],
  cuts: [rowCuts(place), ['row']],
});

/** Groups over which ranks hold other samples. */
const sampleGroups = (place: Squares): readonly Group[] =>
  place.kind === '2d' ? [place.groups.column] : [place.groups.column, place.groups.depth];

/** A weight that all layers of the depth share: its gradient is summed over them. */
const shared = (parameter: Parameter, place: Squares): Tensor =>
  place.kind === '2d' ? parameter.tensor : copyToGroup(parameter.tensor, place.groups.depth);

/** A vector along the features, `[width / q²]` on each rank, as the `[width / q]` that this rank's column needs. */
const vector = (parameter: Parameter, place: Squares): Tensor =>
  gatherFromGroup(shared(parameter, place), place.groups.column, 0, true);

const vectorLayout = (width: number): Layout => ({ shape: [width], cuts: [['row', 'column']] });
const tableLayout = (rows: number, width: number): Layout => ({
  shape: [rows, width],
  cuts: [['column'], ['row']],
});

/** `y = x W + b` in blocks. */
export class Linear2D extends Module<[Sharded], Sharded> {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly #place: Squares;
  readonly #in: number;
  readonly #out: number;
  readonly #stored: 'in-out' | 'out-in';

  constructor(
    inFeatures: number,
    outFeatures: number,
    options: SquareOptions &
      LinearStorage & {
        readonly bias?: boolean;
        readonly init?: inits.Initializer;
        readonly biasInit?: inits.Initializer;
      } = {},
  ) {
    super();
    this.#place = placeFor('Linear2D', kinds, options.place);
    this.#in = inFeatures;
    this.#out = outFeatures;
    const { groups } = this.#place;
    const { sections = 1 } = options;
    this.#stored = options.stored ?? 'in-out';
    const init = options.init ?? linearInit(inFeatures);
    const { layout, sections: both } = storedAs(this.#stored, tableLayout(inFeatures, outFeatures), sections);
    this.weight = partParameter(layout, init, groups, 'features', both);
    const biasInit = options.biasInit ?? linearInit(inFeatures);
    const vector = vectorLayout(outFeatures);
    this.bias = options.bias === false ? null : partParameter(vector, biasInit, groups, 'features', [sections]);
  }

  forward(x: Sharded): Sharded {
    const place = this.#place;
    const rows = x.layout.shape[0]!;
    requireLayout('Linear2D', x, squareLayout(place, rows, this.#in));
    const { row, column } = place.groups;
    const stored = shared(this.weight, place);
    const weight = this.#stored === 'in-out' ? stored : ops.transpose(stored, 0, 1);
    const product = summaAB(rowsOf(x.tensor), weight, row, column);
    const y = this.bias === null ? product : ops.add(product, vector(this.bias, place));
    return { tensor: likeRowsOf(y, x.tensor), layout: squareLayout(place, rows, this.#out) };
  }
}

/** Layer normalisation over features that are cut by row: two all-reduces of one number per token each way. */
export class LayerNorm2D extends Module<[Sharded], Sharded> {
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly epsilon: number;
  readonly #place: Squares;
  readonly #width: number;

  constructor(width: number, options: SquareOptions & { readonly epsilon?: number } = {}) {
    super();
    this.#place = placeFor('LayerNorm2D', kinds, options.place);
    this.#width = width;
    this.epsilon = options.epsilon ?? 1e-5;
    this.weight = partParameter(vectorLayout(width), inits.ones, this.#place.groups, 'width');
    this.bias = partParameter(vectorLayout(width), inits.zeros, this.#place.groups, 'width');
  }

  forward(x: Sharded): Sharded {
    const place = this.#place;
    requireLayout('LayerNorm2D', x, squareLayout(place, x.layout.shape[0]!, this.#width));
    const normal = wideOf(x.tensor, this.#width, this.epsilon, place.groups.row);
    const y = ops.add(ops.mul(normal, vector(this.weight, place)), vector(this.bias, place));
    return { tensor: y, layout: x.layout };
  }
}

/** Root-mean-square normalisation likewise: one all-reduce each way. */
export class RMSNorm2D extends Module<[Sharded], Sharded> {
  readonly weight: Parameter;
  readonly epsilon: number;
  readonly #place: Squares;
  readonly #width: number;

  constructor(width: number, options: SquareOptions & { readonly epsilon?: number } = {}) {
    super();
    this.#place = placeFor('RMSNorm2D', kinds, options.place);
    this.#width = width;
    this.epsilon = options.epsilon ?? 1e-6;
    this.weight = partParameter(vectorLayout(width), inits.ones, this.#place.groups, 'width');
  }

  forward(x: Sharded): Sharded {
    const place = this.#place;
    requireLayout('RMSNorm2D', x, squareLayout(place, x.layout.shape[0]!, this.#width));
    const normal = rootMeanSquareOf(x.tensor, this.#width, this.epsilon, place.groups.row);
    return { tensor: ops.mul(vector(this.weight, place), normal), layout: x.layout };
  }
}

/** A table whose rows all ranks need: ids cut like tokens. For positions, and vocabularies that do not divide. */
export class Embedding2D extends Module<[Sharded], Sharded> {
  readonly weight: Parameter;
  readonly isTable = true;
  readonly #place: Squares;
  readonly #width: number;

  constructor(rows: number, width: number, options: SquareOptions & { readonly init?: inits.Initializer } = {}) {
    super();
    this.#place = placeFor('Embedding2D', kinds, options.place);
    this.#width = width;
    const layout = { shape: [rows, width], cuts: [[], ['row', 'column']] };
    this.weight = partParameter(layout, options.init ?? inits.normal(1), this.#place.groups, 'width');
  }

  /** ids: tokens cut by `rowCuts`, `[M / (d q)]`. */
  forward(ids: Sharded): Sharded {
    const place = this.#place;
    const table = gatherFromGroup(shared(this.weight, place), place.groups.column, 1, true);
    const rows = ids.layout.shape[0]!;
    requireLayout('Embedding2D', ids, { shape: [rows], cuts: [rowCuts(place)] });
    return { tensor: ops.embedding(table, ids.tensor), layout: squareLayout(place, rows, this.#width) };
  }
}

/** A table cut by ids over the column: every rank looks up what it has, rows are summed to where their tokens are. */
export class VocabularyEmbedding2D extends Module<[Sharded], Sharded> {
  readonly weight: Parameter;
  readonly isTable = true;
  readonly #place: Squares;
  readonly #width: number;

  constructor(vocabulary: number, width: number, options: SquareOptions & { readonly init?: inits.Initializer } = {}) {
    super();
    this.#place = placeFor('VocabularyEmbedding2D', kinds, options.place);
    this.#width = width;
    const init = options.init ?? inits.normal(1);
    this.weight = tableParameter(tableLayout(vocabulary, width), init, this.#place.groups);
  }

  /** ids: tokens of this depth layer, `[M / d]`. */
  forward(ids: Sharded): Sharded {
    const place = this.#place;
    const rows = ids.layout.shape[0]!;
    requireLayout('VocabularyEmbedding2D', ids, { shape: [rows], cuts: [place.kind === '2d' ? [] : ['depth']] });
    const first = this.weight.whole!.ranges[0]![0]!.begin;
    const partial = maskedRows(shared(this.weight, place), ids.tensor, first);
    const tensor = reduceScatterToGroup(partial, place.groups.column, 0);
    return { tensor, layout: squareLayout(place, rows, this.#width) };
  }
}

/** The projection to the vocabulary by `x Wᵀ`, so that it can share `VocabularyEmbedding2D`'s weight, and its loss. */
export class VocabularyHead2D extends Module<[Sharded], Sharded> {
  readonly weight: Parameter;
  readonly #place: Squares;
  readonly #width: number;
  readonly #vocabulary: number;
  /** Of a whole block. */
  readonly #rows: number;

  constructor(
    width: number,
    vocabulary: number,
    options: SquareOptions & { readonly init?: inits.Initializer; readonly weight?: Parameter } = {},
  ) {
    super();
    this.#place = placeFor('VocabularyHead2D', kinds, options.place);
    this.#width = width;
    this.#vocabulary = vocabulary;
    const init = options.init ?? linearInit(width);
    const { groups } = this.#place;
    this.weight = options.weight ?? tableParameter(tableLayout(vocabulary, width), init, groups);
    this.#rows = rowsOfBlock(vocabulary, ['column'], groups);
  }

  /** Logits `[M / (d q), vocabulary / q]`, zeros at the end where the vocabulary does not divide. */
  forward(x: Sharded): Sharded {
    const place = this.#place;
    const rows = x.layout.shape[0]!;
    requireLayout('VocabularyHead2D', x, squareLayout(place, rows, this.#width));
    const table = filled(shared(this.weight, place), this.#rows);
    const logits = summaABt(rowsOf(x.tensor), table, place.groups.row, place.groups.column);
    return { tensor: likeRowsOf(logits, x.tensor), layout: squareLayout(place, rows, this.#rows * place.edge) };
  }

  /** Mean loss in nats of the targets that are not -100, cut like tokens; the same on every rank. */
  loss(x: Sharded, targets: Sharded): Tensor {
    const place = this.#place;
    const logits = this.call(x);
    requireLayout('the loss', targets, { shape: [x.layout.shape[0]!], cuts: [rowCuts(place)] });
    const begin = this.#rows * place.groups.row.rank;
    const flat = ops.reshape(targets.tensor, [-1]);
    const known = knownColumns(rowsOf(logits.tensor), begin, this.#vocabulary);
    const losses = parallelCrossEntropy(known, flat, begin, place.groups.row);
    return meanLoss(losses, flat, sampleGroups(place));
  }
}
