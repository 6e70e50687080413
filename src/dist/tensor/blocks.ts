/** What the layers of a model are made of in 2D, 2.5D and 3D, and how what passes between them is cut. */
import type { init as inits, Module, Parameter } from '../../nn/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import {
  cubeLayout,
  Embedding3D,
  type FeatureEdge,
  LayerNorm3D,
  Linear3D,
  RMSNorm3D,
  VocabularyEmbedding3D,
  VocabularyHead3D,
} from './cube.ts';
import type { Groups, Layout, Sharded } from './layout.ts';
import type { CubePlace, DeepPlace, SquarePlace } from './places.ts';
import {
  Embedding2D,
  LayerNorm2D,
  Linear2D,
  RMSNorm2D,
  squareLayout,
  VocabularyEmbedding2D,
  VocabularyHead2D,
} from './square.ts';
import type { LinearStorage } from './support.ts';

type Layer = Module<[Sharded], Sharded> & { readonly weight: Parameter };

export interface LinearBlocks extends LinearStorage {
  readonly bias?: boolean;
  readonly init?: inits.Initializer;
  readonly biasInit?: inits.Initializer;
}

export interface Blocks {
  readonly groups: Groups;
  /** Parts of a batch's rows. */
  readonly rowParts: number;
  /** Groups that cut the rows of ids for the vocabulary, of what passes between layers, and of labels. Outermost first. */
  readonly idCuts: readonly string[];
  readonly rowCuts: readonly string[];
  readonly labelCuts: readonly string[];
  /** Of what blocks x `[..., width]` is a block: between layers, and between two linear layers that belong together. */
  between(x: Tensor): Layout;
  inside(x: Tensor): Layout;
  linear(
    along: 'out' | 'in',
    inFeatures: number,
    outFeatures: number,
    options: LinearBlocks,
  ): Layer & { readonly bias: Parameter | null };
  layerNorm(width: number, epsilon: number): Layer;
  rmsNorm(width: number, epsilon: number): Layer;
  vocabulary(vocabulary: number, width: number, init: inits.Initializer): Layer;
  table(rows: number, width: number, init: inits.Initializer): Layer;
  head(
    width: number,
    vocabulary: number,
    options: { readonly init: inits.Initializer; readonly weight?: Parameter },
  ): Layer & { loss(x: Sharded, targets: Sharded): Tensor };
}

export const blocksOf = (place: SquarePlace | DeepPlace | CubePlace): Blocks =>
  place.kind === '3d' ? cubeBlocks(place) : squareBlocks(place);

const rowsIn = (x: Tensor): number => x.elements / x.size(-1);

function squareBlocks(place: SquarePlace | DeepPlace): Blocks {
  const { edge } = place;
  const depth = place.kind === '2d' ? 1 : place.depth;
  const rowParts = depth * edge;
  const layoutOf = (x: Tensor): Layout => squareLayout(place, rowsIn(x) * rowParts, x.size(-1) * edge);
  const [rowCuts] = squareLayout(place, 1, 1).cuts as [readonly string[], readonly string[]];
  return {
    groups: place.groups,
    rowParts,
    // Every rank of a column has other rows of the vocabulary, and looks its rows of all tokens up.
    idCuts: place.kind === '2d' ? [] : ['depth'],
    rowCuts,
    labelCuts: rowCuts,
    between: layoutOf,
    inside: layoutOf,
    linear: (_, inFeatures, outFeatures, options) => new Linear2D(inFeatures, outFeatures, { ...options, place }),
    layerNorm: (width, epsilon) => new LayerNorm2D(width, { epsilon, place }),
    rmsNorm: (width, epsilon) => new RMSNorm2D(width, { epsilon, place }),
    vocabulary: (vocabulary, width, init) => new VocabularyEmbedding2D(vocabulary, width, { init, place }),
    table: (rows, width, init) => new Embedding2D(rows, width, { init, place }),
    head: (width, vocabulary, options) => new VocabularyHead2D(width, vocabulary, { ...options, place }),
  };
}

/** Between layers the width is cut by `output`; the first linear layer of two turns that into `input`, the second turns it back. */
function cubeBlocks(place: CubePlace): Blocks {
  const { edge } = place;
  const rowParts = edge ** 2;
  const layoutBy =
    (features: FeatureEdge) =>
    (x: Tensor): Layout =>
      cubeLayout(rowsIn(x) * rowParts, x.size(-1) * edge, features);
  return {
    groups: place.groups,
    rowParts,
    idCuts: ['weight'],
    rowCuts: ['weight', 'input'],
    // The logits' rows.
    labelCuts: ['weight', 'output'],
    between: layoutBy('output'),
    inside: layoutBy('input'),
    linear: (along, inFeatures, outFeatures, options) =>
      new Linear3D(inFeatures, outFeatures, { ...options, place, features: along === 'out' ? 'output' : 'input' }),
    layerNorm: (width, epsilon) => new LayerNorm3D(width, { epsilon, place }),
    rmsNorm: (width, epsilon) => new RMSNorm3D(width, { epsilon, place }),
    vocabulary: (vocabulary, width, init) => new VocabularyEmbedding3D(vocabulary, width, { init, place }),
    table: (rows, width, init) => new Embedding3D(rows, width, { init, place }),
    head: (width, vocabulary, options) => new VocabularyHead3D(width, vocabulary, { ...options, place }),
  };
}
