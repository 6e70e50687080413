/**
 * Every tensor-parallel layer of a mode beside the same layer on whole tensors, in float64: how far output and all gradients
 * are apart, and how many elements arrived at this rank, forward and backward.
 */
import type { Communicator } from '../../../src/dist/index.ts';
import { makeMesh } from '../../../src/dist/mesh.ts';
import * as tp from '../../../src/dist/tensor/index.ts';
import { rmsNorm } from '../../../src/nn/fused.ts';
import { type AnyModule, layers, Module, partOf, randomKeys, withLayers } from '../../../src/nn/index.ts';
import { grad, ops, scope, type Tensor } from '../../../src/tensor/index.ts';
import { type ModelReport, modelsAt } from './lineModels.ts';

export interface Mode {
  readonly kind: '1d' | '2d' | '2.5d' | '3d';
  readonly depth?: number;
}

export interface LayerReport {
  /** Largest difference of the output, the input's gradient and each parameter's. */
  readonly apart: Record<string, number>;
  readonly elements: number;
}

/** Sizes without a common shape: odd blocks, nothing square. */
export const sizesFor = (edge: number): { m: number; k: number; n: number; v: number } => ({
  m: 5 * edge * edge,
  k: 3 * edge * edge,
  n: 7 * edge * edge,
  v: 11 * edge * edge,
});

/** The same numbers on every rank. */
function numbers(seed: number, shape: readonly number[]): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  const values = Float64Array.from(
    { length: count },
    (_, i) => Math.sin(1 + seed * 7.1 + i * 1.37) * Math.cos(i * 0.71 + seed),
  );
  return ops.fromArray(values, shape);
}

const idsOf = (seed: number, count: number, below: number): Tensor =>
  ops.fromArray(
    BigInt64Array.from({ length: count }, (_, i) => BigInt((i * 7 + seed * 3) % below)),
    [count],
  );

function difference(a: Tensor, b: Tensor): number {
  if (a.shape.join() !== b.shape.join()) throw new Error(`shapes [${a.shape}] and [${b.shape}] differ`);
  return a.elements === 0 ? 0 : ops.maxAll(ops.abs(ops.sub(a, b))).item();
}

type Wholes = Readonly<Record<string, Tensor>>;

interface Case {
  readonly module: AnyModule;
  /** What comes in, whole. */
  readonly x: Tensor;
  /** What the layer does to whole tensors. */
  readonly serial: (x: Tensor, parameters: Wholes) => Tensor;
  /** Runs the layer on a part. */
  readonly parallel: (x: Tensor) => Tensor;
  readonly xCuts: tp.Layout['cuts'];
  readonly yCuts: tp.Layout['cuts'];
}

export interface Reports {
  readonly layers: Record<string, LayerReport>;
  /** Where they divide. */
  readonly models: Record<string, ModelReport>;
  /** Which elements of its block this rank drops, twice under one key. */
  readonly dropped: readonly [string, string] | null;
}

class DroppingUnit extends Module<[Tensor], Tensor> {
  readonly drop = layers().dropout(0.5);
  forward(x: Tensor): Tensor {
    return this.drop.call(this.drop.call(x));
  }
}

function droppedAt(place: Exclude<tp.AnyPlace, tp.LinePlace>): readonly [string, string] {
  const unit = withLayers(tp.blockLayers(place), () => new DroppingUnit()).unit();
  const once = (): string => {
    randomKeys.begin({ seed: 1, step: 0, microBatch: 0 });
    return ops
      .toArray(unit.call(ops.ones([8, 8])))
      .map((value) => (value === 0 ? 'x' : '.'))
      .join('');
  };
  return scope(() => [once(), once()]);
}

export function run(communicator: Communicator, input: unknown): Reports {
  const mode = input as Mode;
  const mesh = makeMesh(communicator, { tp: communicator.world.size });
  const place =
    mode.kind === '1d'
      ? tp.lineOf(mesh)
      : mode.kind === '2d'
        ? tp.squareOf(mesh)
        : mode.kind === '2.5d'
          ? tp.deepSquareOf(mesh, mode.depth!)
          : tp.cubeOf(mesh);
  const cases = tp.withPlace(place, () =>
    place.kind === '1d' ? lineCases(place) : place.kind === '3d' ? cubeCases(place) : squareCases(place),
  );
  const groups: tp.Groups = place.groups;
  const reports = Object.fromEntries(
    Object.entries(cases).map(([name, one]) => {
      for (const group of Object.values(groups)) group.resetCounters();
      return [name, scope(() => report(one, groups))];
    }),
  );
  if (place.kind === '1d') return { layers: reports, models: {}, dropped: null };
  return { layers: reports, models: place.edge === 2 ? modelsAt(place) : {}, dropped: droppedAt(place) };
}

function report({ module, x, serial, parallel, xCuts, yCuts }: Case, groups: tp.Groups): LayerReport {
  const named = [...module.namedParameters()];
  const wholes = Object.fromEntries(
    named.map(([name, parameter], i) => [name, numbers(i + 3, (parameter.whole ?? parameter).shape).requireGrad()]),
  );
  for (const [name, parameter] of named) parameter.place(ops.clone(ops.detach(partOf(wholes[name]!, parameter))));
  const floating = x.dtype === 'float64';
  const wholeX = floating ? ops.clone(x).requireGrad() : x;
  const y = serial(wholeX, wholes);
  const dy = y.shape.length === 0 ? ops.ones([], { dtype: 'float64' }) : numbers(99, y.shape);
  const inputs = floating ? [wholeX] : [];
  const expected = grad([y], [...inputs, ...named.map(([name]) => wholes[name]!)], [dy]);

  const part = (whole: Tensor, cuts: tp.Layout['cuts']): Tensor =>
    ops.clone(ops.detach(cutLocally(whole, cuts, groups)));
  const ownX = floating ? part(x, xCuts).requireGrad() : part(x, xCuts);
  const ownY = parallel(ownX);
  const got = grad([ownY], [...(floating ? [ownX] : []), ...named.map(([, { tensor }]) => tensor)], [part(dy, yCuts)]);
  const elements = Object.values(groups)
    .flatMap((group) => Object.values(group.counters()))
    .reduce((sum, { elementsReceived }) => sum + elementsReceived, 0);

  const apart: Record<string, number> = { y: difference(ownY, part(y, yCuts)) };
  if (floating) apart.x = difference(got[0]!, part(expected[0]!, xCuts));
  named.forEach(([name, parameter], i) => {
    const at = i + inputs.length;
    apart[name] = difference(got[at]!, partOf(expected[at]!, parameter));
  });
  module.unplace();
  return { apart, elements };
}

/** By slicing, so that the test does not lean on what it tests. */
function cutLocally(whole: Tensor, cuts: tp.Layout['cuts'], groups: tp.Groups): Tensor {
  return cuts.reduce<Tensor>((tensor, cut, dim) => {
    return cut.reduce((part, name) => {
      const { rank, size } = groups[name]!;
      const length = part.size(dim) / size;
      return ops.contiguous(ops.slice(part, dim, rank * length, (rank + 1) * length));
    }, tensor);
  }, whole);
}

const layerNorm = (x: Tensor, { weight, bias }: Wholes): Tensor => ops.layerNorm(x, [x.size(-1)], weight!, bias!, 1e-5);
const rms = (x: Tensor, { weight }: Wholes): Tensor => rmsNorm(x, weight!, 1e-6);
const sharded = (tensor: Tensor, shape: readonly number[], cuts: tp.Layout['cuts']): tp.Sharded => ({
  tensor,
  layout: { shape, cuts },
});

const nll = (logits: Tensor, targets: Tensor): Tensor => ops.crossEntropy(logits, targets);

/** One column-cut layer feeding a row-cut one, as a user would write it. */
class Pair extends tp.ColumnLinear1D {
  readonly down: tp.RowLinear1D;
  constructor(width: number, hidden: number) {
    super(width, hidden);
    this.down = new tp.RowLinear1D(hidden, width);
  }
}

function lineCases(place: tp.LinePlace): Record<string, Case> {
  const p = place.groups.line.size;
  const { m, k, n } = { m: 6 * p, k: 5 * p, n: 3 * p };
  // Does not divide by the ranks.
  const v = 7 * p + 1;
  const x = numbers(1, [m, k]);
  const x3 = numbers(2, [3, 2 * p, k]);
  const column = new tp.ColumnLinear1D(k, n);
  const gathered = new tp.ColumnLinear1D(k, n, { gather: true, bias: false });
  const row = new tp.RowLinear1D(k, n);
  const pair = new Pair(k, n);
  const columnSequence = new tp.ColumnLinear1D(k, n, { sequence: true });
  const rowSequence = new tp.RowLinear1D(k, n, { sequence: true });
  const table = new tp.VocabularyEmbedding1D(v, k);
  const wide = new tp.Embedding1D(v, k);
  const head = new tp.VocabularyHead1D(k, v);
  const targets = idsOf(5, m, v);
  const linear = (a: Tensor, { weight, bias }: Wholes): Tensor => ops.linear(a, weight!, bias ?? null);
  const ids = idsOf(1, m, v);
  const whole = [[], []];
  return {
    column: { module: column, x, serial: linear, parallel: (a) => column.call(a), xCuts: whole, yCuts: [[], ['line']] },
    gathered: { module: gathered, x, serial: linear, parallel: (a) => gathered.call(a), xCuts: whole, yCuts: whole },
    row: { module: row, x, serial: linear, parallel: (a) => row.call(a), xCuts: [[], ['line']], yCuts: whole },
    pair: {
      module: pair,
      x,
      serial: (a, w) => ops.linear(ops.gelu(linear(a, w)), w['down.weight']!, w['down.bias']!),
      parallel: (a) => pair.down.call(ops.gelu(pair.call(a))),
      xCuts: whole,
      yCuts: whole,
    },
    columnSequence: {
      module: columnSequence,
      x: x3,
      serial: linear,
      parallel: (a) => columnSequence.call(a),
      xCuts: [[], ['line'], []],
      yCuts: [[], [], ['line']],
    },
    rowSequence: {
      module: rowSequence,
      x: x3,
      serial: linear,
      parallel: (a) => rowSequence.call(a),
      xCuts: [[], [], ['line']],
      yCuts: [[], ['line'], []],
    },
    vocabularyEmbedding: {
      module: table,
      x: ids,
      serial: (a, { weight }) => ops.embedding(weight!, a),
      parallel: (a) => table.call(a),
      xCuts: [[]],
      yCuts: whole,
    },
    embedding: {
      module: wide,
      x: ids,
      serial: (a, { weight }) => ops.embedding(weight!, a),
      parallel: (a) => wide.call(a),
      xCuts: [[]],
      yCuts: whole,
    },
    logits: {
      module: head,
      x,
      serial: (a, { weight }) => ops.linear(a, weight!),
      parallel: (a) => head.call(a),
      xCuts: whole,
      yCuts: whole,
    },
    loss: {
      module: head,
      x,
      serial: (a, { weight }) => nll(ops.linear(a, weight!), targets),
      parallel: (a) => head.loss(a, targets),
      xCuts: whole,
      yCuts: [],
    },
  };
}

interface HeadGiven {
  readonly head: tp.VocabularyHead2D | tp.VocabularyHead3D;
  readonly x: Tensor;
  readonly xCuts: tp.Layout['cuts'];
  readonly yCuts: tp.Layout['cuts'];
  readonly targets: Tensor;
  readonly targetCuts: tp.Layout['cuts'];
  readonly groups: tp.Groups;
}

/** A head's logits, and its loss without whole logits. */
function headCases({ head, x, xCuts, yCuts, targets, targetCuts, groups }: HeadGiven): Record<string, Case> {
  const ofX = (a: Tensor): tp.Sharded => sharded(a, x.shape, xCuts);
  return {
    logits: {
      module: head,
      x,
      serial: (a, { weight }) => ops.linear(a, weight!),
      parallel: (a) => head.call(ofX(a)).tensor,
      xCuts,
      yCuts,
    },
    loss: {
      module: head,
      x,
      serial: (a, { weight }) => nll(ops.linear(a, weight!), targets),
      parallel: (a) => head.loss(ofX(a), sharded(cutLocally(targets, targetCuts, groups), targets.shape, targetCuts)),
      xCuts,
      yCuts: [],
    },
  };
}

function squareCases(place: tp.SquarePlace | tp.DeepPlace): Record<string, Case> {
  const { edge } = place;
  const { m, k, n, v } = sizesFor(place.kind === '2d' ? edge : edge * place.depth);
  const tokens = place.kind === '2d' ? ['column'] : ['depth', 'column'];
  const cuts = [tokens, ['row']];
  const linear = new tp.Linear2D(k, n);
  const bare = new tp.Linear2D(k, n, { bias: false });
  const norm = new tp.LayerNorm2D(k);
  const square = new tp.RMSNorm2D(k);
  const table = new tp.VocabularyEmbedding2D(v, k);
  const positions = new tp.Embedding2D(v, k);
  const head = new tp.VocabularyHead2D(k, v);
  const x = numbers(1, [m, k]);
  const ids = idsOf(1, m, v);
  const targets = idsOf(4, m, v);
  const layerIds = [place.kind === '2d' ? [] : ['depth']];
  const lookUp = (a: Tensor, { weight }: Wholes): Tensor => ops.embedding(weight!, a);
  const product = (a: Tensor, { weight, bias }: Wholes): Tensor =>
    bias === undefined ? ops.matmul(a, weight!) : ops.add(ops.matmul(a, weight!), bias);
  return {
    linear: {
      module: linear,
      x,
      serial: product,
      parallel: (a) => linear.call(sharded(a, [m, k], cuts)).tensor,
      xCuts: cuts,
      yCuts: cuts,
    },
    bare: {
      module: bare,
      x,
      serial: product,
      parallel: (a) => bare.call(sharded(a, [m, k], cuts)).tensor,
      xCuts: cuts,
      yCuts: cuts,
    },
    norm: {
      module: norm,
      x,
      serial: layerNorm,
      parallel: (a) => norm.call(sharded(a, [m, k], cuts)).tensor,
      xCuts: cuts,
      yCuts: cuts,
    },
    rms: {
      module: square,
      x,
      serial: rms,
      parallel: (a) => square.call(sharded(a, [m, k], cuts)).tensor,
      xCuts: cuts,
      yCuts: cuts,
    },
    vocabularyEmbedding: {
      module: table,
      x: ids,
      serial: lookUp,
      parallel: (a) => table.call(sharded(a, [m], layerIds)).tensor,
      xCuts: layerIds,
      yCuts: cuts,
    },
    embedding: {
      module: positions,
      x: ids,
      serial: lookUp,
      parallel: (a) => positions.call(sharded(a, [m], [tokens])).tensor,
      xCuts: [tokens],
      yCuts: cuts,
    },
    ...headCases({ head, x, xCuts: cuts, yCuts: cuts, targets, targetCuts: [tokens], groups: place.groups }),
  };
}

function cubeCases(place: tp.CubePlace): Record<string, Case> {
  const { m, k, n, v } = sizesFor(place.edge);
  const cutsBy = (edge: tp.FeatureEdge): tp.Layout['cuts'] => [
    ['weight', edge === 'output' ? 'input' : 'output'],
    [edge],
  ];
  const [first, second] = [cutsBy('output'), cutsBy('input')];
  const linear = new tp.Linear3D(k, n);
  const bare = new tp.Linear3D(k, n, { bias: false });
  const back = new tp.Linear3D(k, n, { features: 'input' });
  const norm = new tp.LayerNorm3D(k);
  const cubic = new tp.RMSNorm3D(k, { features: 'input' });
  const table = new tp.VocabularyEmbedding3D(v, k);
  const head = new tp.VocabularyHead3D(k, v);
  const x = numbers(1, [m, k]);
  const ids = idsOf(1, m, v);
  const targets = idsOf(4, m, v);
  const targetCuts = [['weight', 'output']];
  const product = (a: Tensor, { weight, bias }: Wholes): Tensor =>
    bias === undefined ? ops.matmul(a, weight!) : ops.add(ops.matmul(a, weight!), bias);
  return {
    linear: {
      module: linear,
      x,
      serial: product,
      parallel: (a) => linear.call(sharded(a, [m, k], first)).tensor,
      xCuts: first,
      yCuts: second,
    },
    bare: {
      module: bare,
      x,
      serial: product,
      parallel: (a) => bare.call(sharded(a, [m, k], first)).tensor,
      xCuts: first,
      yCuts: second,
    },
    back: {
      module: back,
      x,
      serial: product,
      parallel: (a) => back.call(sharded(a, [m, k], second)).tensor,
      xCuts: second,
      yCuts: first,
    },
    norm: {
      module: norm,
      x,
      serial: layerNorm,
      parallel: (a) => norm.call(sharded(a, [m, k], first)).tensor,
      xCuts: first,
      yCuts: first,
    },
    rms: {
      module: cubic,
      x,
      serial: rms,
      parallel: (a) => cubic.call(sharded(a, [m, k], second)).tensor,
      xCuts: second,
      yCuts: second,
    },
    vocabularyEmbedding: {
      module: table,
      x: ids,
      serial: (a, { weight }) => ops.embedding(weight!, a),
      parallel: (a) => table.call(sharded(a, [m], [['weight']])).tensor,
      xCuts: [['weight']],
      yCuts: first,
    },
    ...headCases({ head, x, xCuts: first, yCuts: second, targets, targetCuts, groups: place.groups }),
  };
}
