/**
 * Models under 2D, 2.5D and 3D tensor parallelism without a change to them. Between layers, a rank has a block: some of the batch's
 * sequences, whole, and a part of the width. Attention finds whole heads there. The embedding takes the batch apart, and the
 * head's loss is that of the whole batch on every rank.
 */
import {
  type AnyModule,
  Dropout,
  type EmbeddingLayer,
  type FeatureCut,
  type HeadLayer,
  type HeadOptions,
  type LayerFactory,
  type LinearLayer,
  Module,
  type NormLayer,
  type Parameter,
  randomKeys,
} from '../../nn/index.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { type Blocks, blocksOf, type LinearBlocks } from './blocks.ts';
import { requireUnits } from './featureCut.ts';
import { HeadNorm } from './headNorm.ts';
import { joinTensor, type Layout, numberIn, rangeOf, type Sharded } from './layout.ts';
import type { CubePlace, DeepPlace, SquarePlace } from './places.ts';
import { addReceived, layerCounts, nothingReceived, type Received, sharedReceived } from './received.ts';
import { rowsOf } from './support.ts';
import { filled } from './vocabulary.ts';

type Layer = Module<[Sharded], Sharded> & { readonly weight: Parameter; readonly bias?: Parameter | null };

/** What a layer receives from other ranks, by the tokens of a whole micro-batch. */
type Count = (tokens: number) => Received;

/** Of all layers below `module`, used once each. */
export function receivedIn(module: AnyModule, tokens: number): Received {
  return Array.from(module.namedModules()).reduce(
    (sum, [, each]) => ('received' in each ? addReceived(sum, (each.received as Count)(tokens)) : sum),
    nothingReceived,
  );
}

/** A layer of blocks between plain tensors: what they are blocks of is known from the place. */
class BlockLayer extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly received: Count;
  readonly #layer: Layer;
  readonly #layoutOf: (x: Tensor) => Layout;

  constructor(layer: Layer, layoutOf: (x: Tensor) => Layout, received: Count) {
    super();
    this.received = received;
    this.weight = layer.weight;
    this.bias = layer.bias ?? null;
    this.#layer = layer;
    this.#layoutOf = layoutOf;
  }

  forward(x: Tensor): Tensor {
    return this.#layer.forward({ tensor: x, layout: this.#layoutOf(x) }).tensor;
  }
}

class BlockHeadNorm extends HeadNorm {
  readonly received: Count;

  constructor(size: number, epsilon: number, groups: readonly Group[]) {
    super(size, epsilon, groups);
    this.received = () => sharedReceived(size, groups);
  }
}

/** Every rank drops of its own block. */
class BlockDropout extends Dropout {
  readonly #branch: number;

  constructor(probability: number, branch: number) {
    super(probability);
    this.#branch = branch;
  }

  override forward(x: Tensor): Tensor {
    return this.drawsRandom ? randomKeys.apart(this.#branch, () => super.forward(x)) : x;
  }
}

/** The rows that this rank has where the groups of `cut` share those of x `[b, ...]`. */
function ownRows(x: Tensor, cut: readonly string[], { groups }: Blocks): Sharded {
  const { begin, end } = rangeOf(x.size(0), cut, groups, 'a batch');
  return { tensor: ops.contiguous(ops.slice(x, 0, begin, end)), layout: { shape: [x.elements], cuts: [cut] } };
}

/** Rows that are looked up. */
abstract class BlockRows extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly isTable = true;
  readonly received: Count;
  protected readonly blocks: Blocks;
  /** Private to be no child of this module: its weight would have two names. */
  readonly #layer: Layer;

  constructor(blocks: Blocks, layer: Layer, received: Count) {
    super();
    this.received = received;
    this.weight = layer.weight;
    this.blocks = blocks;
    this.#layer = layer;
  }

  protected rowsOf(ids: Sharded): Tensor {
    return this.#layer.forward(ids).tensor;
  }
}

class BlockVocabulary extends BlockRows {
  /** ids `[b, t]` of a whole batch. */
  forward(ids: Tensor): Tensor {
    const { rowParts, idCuts } = this.blocks;
    const rows = Math.ceil(ids.size(0) / rowParts) * rowParts;
    return this.rowsOf(ownRows(filled(ids, rows), idCuts, this.blocks));
  }
}

/** Positions, of which all ranks use the same. */
class BlockTable extends BlockRows {
  forward(ids: Tensor): Tensor {
    const { rowParts, rowCuts } = this.blocks;
    const layout = { shape: [ids.elements * rowParts], cuts: [rowCuts] };
    return this.rowsOf({ tensor: ids, layout });
  }
}

type LossLayer = Layer & { loss(x: Sharded, targets: Sharded): Tensor };

class BlockHead extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly received: Count;
  readonly #blocks: Blocks;
  readonly #layer: LossLayer;
  readonly #vocabulary: number;

  constructor(blocks: Blocks, layer: LossLayer, vocabulary: number, received: Count) {
    super();
    this.received = received;
    this.weight = layer.weight;
    this.#blocks = blocks;
    this.#layer = layer;
    this.#vocabulary = vocabulary;
  }

  /** hidden `[b / parts, t, width]` to all logits `[b, t, vocabulary]` on every rank. */
  forward(hidden: Tensor): Tensor {
    const { groups, rowParts } = this.#blocks;
    const { tensor, layout } = this.#layer.forward(this.#sharded(hidden));
    const all = joinTensor({ tensor: rowsOf(tensor), layout }, groups);
    const known = ops.slice(all, 1, 0, this.#vocabulary);
    return ops.reshape(known, [hidden.size(0) * rowParts, hidden.size(1), this.#vocabulary]);
  }

  loss(hidden: Tensor, labels: Tensor): Tensor {
    const { rowParts, labelCuts } = this.#blocks;
    const known = filled(labels, hidden.size(0) * rowParts, -100);
    return this.#layer.loss(this.#sharded(hidden), ownRows(known, labelCuts, this.#blocks));
  }

  #sharded(hidden: Tensor): Sharded {
    return { tensor: hidden, layout: this.#blocks.between(hidden) };
  }
}

/** Makes a model's layers for one place: `withLayers(blockLayers(squareOf(mesh)), () => buildModel(…))`. */
export function blockLayers(place: SquarePlace | DeepPlace | CubePlace): LayerFactory {
  const blocks = blocksOf(place);
  const { groups } = blocks;
  const branch = numberIn(groups);
  const counts = layerCounts(place);
  const ranks = Object.values(groups).reduce((product, { size }) => product * size, 1);
  const over = `an edge of ${place.edge} (${place.kind}, tp ${ranks})`;
  const linear = (inFeatures: number, outFeatures: number, cut: FeatureCut, options: LinearBlocks): LinearLayer => {
    requireUnits(cut.along === 'out' ? outFeatures : inFeatures, cut, place.edge, over);
    const given = cut.along === 'out' && cut.sections !== undefined ? { ...options, sections: cut.sections } : options;
    const layer = blocks.linear(cut.along, inFeatures, outFeatures, given);
    const count: Count = (tokens) => counts.linear(tokens, inFeatures, outFeatures, layer.bias !== null);
    return new BlockLayer(layer, cut.along === 'out' ? blocks.between : blocks.inside, count);
  };
  const norm = (layer: Layer, width: number, centred: boolean): NormLayer =>
    new BlockLayer(layer, blocks.between, (tokens) => counts.norm(tokens, width, centred));
  return {
    linear(inFeatures, outFeatures, { init, biasInit, bias }, cut) {
      return linear(inFeatures, outFeatures, cut, {
        stored: 'out-in',
        ...(init === undefined ? {} : { init }),
        ...(bias === undefined ? {} : { bias }),
        ...(biasInit === undefined ? {} : { biasInit }),
      });
    },
    linearInOut: (inFeatures, outFeatures, init, biasInit, cut) =>
      linear(inFeatures, outFeatures, cut, { stored: 'in-out', init, biasInit }),
    enter: (x) => x,
    drawApart: (body) => randomKeys.apart(branch, body),
    headNorm: (size, epsilon) => new BlockHeadNorm(size, epsilon, Object.values(groups)),
    layerNorm: (width, epsilon) => norm(blocks.layerNorm(width, epsilon), width, true),
    rmsNorm: (width, epsilon) => norm(blocks.rmsNorm(width, epsilon), width, false),
    dropout: (probability) => new BlockDropout(probability, branch),
    embedding: (vocabulary, width, init): EmbeddingLayer =>
      new BlockVocabulary(blocks, blocks.vocabulary(vocabulary, width, init), (tokens) =>
        counts.vocabulary(tokens, vocabulary, width),
      ),
    table: (rows, width, init): EmbeddingLayer =>
      new BlockTable(blocks, blocks.table(rows, width, init), () => counts.table(rows, width)),
    head(width, vocabulary, { init, weight }: HeadOptions): HeadLayer {
      const layer = blocks.head(width, vocabulary, weight === null ? { init } : { init, weight });
      return new BlockHead(blocks, layer, vocabulary, (tokens) => counts.head(tokens, vocabulary, width));
    },
    blocks: { rows: blocks.rowParts, width: place.edge },
  };
}
