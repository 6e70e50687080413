/**
 * 1D tensor parallelism (Shoeybi et al. 2019): a linear layer cut by its outputs feeds one cut by its inputs, with one
 * all-reduce forward and one backward for the pair. With `sequence` (Korthikanti et al. 2022) what lies between pairs is cut along
 * the sequence, dimension 1 of `[b, t, width]`: all-gather and reduce-scatter instead.
 *
 * Volumes, elements received per rank of p, x `[M, K]`, W `[K, N]`: column backward 2 (p-1)/p MK, row forward 2 (p-1)/p MN.
 */
import { check } from '../../core/errors.ts';
import { init as inits, Module, Parameter } from '../../nn/index.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import { partSize } from './counts.ts';
import {
  copyToGroup,
  gatherFromGroup,
  parallelCrossEntropy,
  reduceFromGroup,
  reduceScatterToGroup,
} from './operators.ts';
import { type LinePlace, placeFor } from './places.ts';
import { linearInit, maskedRows, meanLoss, partParameter, rowsOf } from './support.ts';

export interface Linear1DOptions {
  readonly bias?: boolean;
  readonly init?: inits.Initializer;
  readonly biasInit?: inits.Initializer;
  /** What comes in (column) or goes out (row) is cut along the sequence. */
  readonly sequence?: boolean;
  readonly place?: LinePlace;
}

const sequenceDim = 1;

/** `y = x Wᵀ + b`, outputs cut: x `[..., in]` the same everywhere, y `[..., out / p]`. Weight `[out / p, in]`. */
export class ColumnLinear1D extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly #place: LinePlace;
  readonly #sequence: boolean;
  readonly #gather: boolean;

  constructor(inFeatures: number, outFeatures: number, options: Linear1DOptions & { readonly gather?: boolean } = {}) {
    super();
    this.#place = placeFor('ColumnLinear1D', ['1d'], options.place);
    this.#sequence = options.sequence ?? false;
    this.#gather = options.gather ?? false;
    const { groups } = this.#place;
    const init = options.init ?? linearInit(inFeatures);
    const weight = { shape: [outFeatures, inFeatures], cuts: [['line'], []] };
    const bias = { shape: [outFeatures], cuts: [['line']] };
    this.weight = partParameter(weight, init, groups, 'output features');
    const biasInit = options.biasInit ?? linearInit(inFeatures);
    this.bias = options.bias === false ? null : partParameter(bias, biasInit, groups, 'output features');
  }

  forward(x: Tensor): Tensor {
    const { line } = this.#place.groups;
    const whole = this.#sequence ? gatherFromGroup(x, line, sequenceDim, true) : copyToGroup(x, line);
    const y = ops.linear(whole, this.weight.tensor, this.bias?.tensor ?? null);
    return this.#gather ? gatherFromGroup(y, line, -1, false) : y;
  }
}

/** `y = x Wᵀ + b`, inputs cut: x `[..., in / p]`, y `[..., out]` the same everywhere. Weight `[out, in / p]`, bias `[out]`. */
export class RowLinear1D extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly #place: LinePlace;
  readonly #sequence: boolean;

  constructor(inFeatures: number, outFeatures: number, options: Linear1DOptions = {}) {
    super();
    this.#place = placeFor('RowLinear1D', ['1d'], options.place);
    this.#sequence = options.sequence ?? false;
    const layout = { shape: [outFeatures, inFeatures], cuts: [[], ['line']] };
    const init = options.init ?? linearInit(inFeatures);
    this.weight = partParameter(layout, init, this.#place.groups, 'input features');
    const biasInit = options.biasInit ?? linearInit(inFeatures);
    this.bias = options.bias === false ? null : new Parameter([outFeatures], biasInit);
  }

  forward(x: Tensor): Tensor {
    const { line } = this.#place.groups;
    const partial = ops.linear(x, this.weight.tensor);
    const y = this.#sequence ? reduceScatterToGroup(partial, line, sequenceDim) : reduceFromGroup(partial, line);
    if (this.bias === null) return y;
    // Each rank adds it to other positions: its gradients are summed.
    return ops.add(y, this.#sequence ? copyToGroup(this.bias.tensor, line) : this.bias.tensor);
  }
}

/** Normalisation between pairs that are cut along the sequence: the wrapped norm's parameters get the sum of all positions. */
export const sharedBySequence = (parameter: Tensor, place: LinePlace): Tensor =>
  copyToGroup(parameter, place.groups.line);

/** The ids of a vocabulary that position `rank` of `size` holds: parts differ by one where it does not divide. */
export function vocabularyRange(vocabulary: number, rank: number, size: number): { begin: number; end: number } {
  const begin = Math.floor(vocabulary / size) * rank + Math.min(rank, vocabulary % size);
  return { begin, end: begin + partSize(vocabulary, size, rank) };
}

function vocabularyParameter(vocabulary: number, width: number, init: inits.Initializer, place: LinePlace): Parameter {
  const { rank, size } = place.groups.line;
  check(vocabulary >= size, `a vocabulary of ${vocabulary} cannot be cut over ${size} ranks`);
  const ranges = [[vocabularyRange(vocabulary, rank, size)], [{ begin: 0, end: width }]];
  return Parameter.part({ shape: [vocabulary, width], ranges }, init);
}

export interface Vocabulary1DOptions {
  readonly init?: inits.Initializer;
  readonly sequence?: boolean;
  readonly place?: LinePlace;
}

/** Embedding cut by ids: ids `[...]` to `[..., width]`. Weight `[vocabulary / p, width]`, parts may differ by one row. */
export class VocabularyEmbedding1D extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly isTable = true;
  readonly #place: LinePlace;
  readonly #sequence: boolean;

  constructor(vocabulary: number, width: number, options: Vocabulary1DOptions = {}) {
    super();
    this.#place = placeFor('VocabularyEmbedding1D', ['1d'], options.place);
    this.#sequence = options.sequence ?? false;
    this.weight = vocabularyParameter(vocabulary, width, options.init ?? inits.normal(1), this.#place);
  }

  forward(ids: Tensor): Tensor {
    const { line } = this.#place.groups;
    const rows = maskedRows(this.weight.tensor, ids, this.weight.whole!.ranges[0]![0]!.begin);
    return this.#sequence ? reduceScatterToGroup(rows, line, sequenceDim) : reduceFromGroup(rows, line);
  }
}

/** Embedding cut by its columns: the output is gathered. Weight `[rows, width / p]`. */
export class Embedding1D extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly isTable = true;
  readonly #place: LinePlace;

  constructor(
    rows: number,
    width: number,
    options: { readonly init?: inits.Initializer; readonly place?: LinePlace } = {},
  ) {
    super();
    this.#place = placeFor('Embedding1D', ['1d'], options.place);
    const layout = { shape: [rows, width], cuts: [[], ['line']] };
    this.weight = partParameter(layout, options.init ?? inits.normal(1), this.#place.groups, 'width');
  }

  forward(ids: Tensor): Tensor {
    return gatherFromGroup(ops.embedding(this.weight.tensor, ids), this.#place.groups.line, -1, false);
  }
}

/** The projection to a vocabulary cut by ids, and its loss, for which logits are never gathered. */
export class VocabularyHead1D extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly #place: LinePlace;
  readonly #sequence: boolean;
  readonly #vocabulary: number;

  constructor(width: number, vocabulary: number, options: Vocabulary1DOptions & { readonly weight?: Parameter } = {}) {
    super();
    this.#place = placeFor('VocabularyHead1D', ['1d'], options.place);
    this.#sequence = options.sequence ?? false;
    this.#vocabulary = vocabulary;
    const init = options.init ?? linearInit(width);
    this.weight = options.weight ?? vocabularyParameter(vocabulary, width, init, this.#place);
  }

  #local(hidden: Tensor): Tensor {
    const { line } = this.#place.groups;
    const whole = this.#sequence ? gatherFromGroup(hidden, line, sequenceDim, true) : copyToGroup(hidden, line);
    return ops.linear(whole, this.weight.tensor);
  }

  /** hidden `[..., width]` to all logits `[..., vocabulary]` on every rank. */
  forward(hidden: Tensor): Tensor {
    const { line } = this.#place.groups;
    const local = this.#local(hidden);
    const most = partSize(this.#vocabulary, line.size, 0);
    const missing = most - local.size(-1);
    const filler = (): Tensor =>
      ops.zeros([...local.shape.slice(0, -1), missing], { dtype: local.dtype, device: local.device });
    const padded = missing === 0 ? local : ops.cat([local, filler()], -1);
    const all = gatherFromGroup(padded, line, -1, false);
    if (most * line.size === this.#vocabulary) return all;
    const parts = Array.from({ length: line.size }, (_, rank) =>
      ops.slice(all, -1, rank * most, rank * most + partSize(this.#vocabulary, line.size, rank)),
    );
    return ops.cat(parts, -1);
  }

  /** Mean loss in nats of the targets int64 `[...]` that are not -100, the same on every rank. */
  loss(hidden: Tensor, targets: Tensor): Tensor {
    const { line } = this.#place.groups;
    const flat = ops.reshape(targets, [-1]);
    const first = this.weight.whole!.ranges[0]![0]!.begin;
    return meanLoss(parallelCrossEntropy(rowsOf(this.#local(hidden)), flat, first, line), flat, []);
  }
}
