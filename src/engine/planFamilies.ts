/**
 * The units of our language models as lists of operators, as `src/models` computes them. Checked against traces of real
 * micro-batches: whoever changes a model's forward changes its list here.
 */
import type { Gpt2, Llama } from '../models/index.ts';
import { lossTokensPerChunk } from '../nn/losses.ts';
import { attention } from './planAttention.ts';
import { type BatchShape, inBlocks, linear, ownWidth } from './planBatch.ts';
import { mixture } from './planMixture.ts';
import type { UnitInput, UnitOp } from './planOps.ts';

export interface DescribedUnit {
  readonly input: UnitInput;
  readonly ops: readonly UnitOp[];
}

const noInput: UnitInput = { name: 'ids', bytes: 0, wantsGradient: false };

export function gpt2Units({ config }: Gpt2, batch: BatchShape): DescribedUnit[] {
  const { n_embd, n_layer, n_head, n_positions, vocab_size: vocabulary } = config;
  const { sequences, length, tensor, elementBytes: size } = batch;
  const width = ownWidth(n_embd, batch);
  const hidden = (config.n_inner ?? 4 * n_embd) / tensor;
  const inside = n_embd / tensor;
  const rows = sequences * length;
  const x = rows * width * size;
  const norm = (input: string, output: string): UnitOp[] => layerNorm(input, output, rows, width, batch);
  const drop = (input: string, output: string, p: number): UnitOp[] => (p > 0 ? [dropout(input, output, x, size)] : []);
  const after = (name: string, p: number): string => (p > 0 ? `${name} dropped` : name);
  const embedding: UnitOp[] = [
    embedded('tokens', rows, width, vocabulary, batch),
    {
      inputs: [],
      output: 'positions',
      bytes: length * width * size,
      savedBytes: length * 8,
      ...tableWork(n_positions * width * size, batch),
    },
    { inputs: ['tokens', 'positions'], output: 'sum', bytes: x, passesGradient: true },
    ...drop('sum', after('sum', config.embd_pdrop), config.embd_pdrop),
  ];
  const shape = {
    heads: n_head / tensor,
    kvHeads: n_head / tensor,
    headSize: n_embd / n_head,
    window: null,
    dropout: config.attn_pdrop,
  };
  const block: UnitOp[] = [
    ...norm('x', 'x1'),
    linear('x1', 'qkv', [rows, width, 3 * inside], batch, true),
    ...attention(['qkv', 'qkv', 'qkv'], 'mixed', shape, batch),
    summed(linear('mixed', 'projected', [rows, inside, width], batch, true), batch),
    ...drop('projected', after('projected', config.resid_pdrop), config.resid_pdrop),
    { inputs: ['x', after('projected', config.resid_pdrop)], output: 'attended', bytes: x, passesGradient: true },
    ...norm('attended', 'x2'),
    linear('x2', 'up', [rows, width, hidden], batch, true),
    { inputs: ['up'], output: 'active', bytes: rows * hidden * size, saves: ['up'] },
    summed(linear('active', 'down', [rows, hidden, width], batch, true), batch),
    ...drop('down', after('down', config.resid_pdrop), config.resid_pdrop),
    { inputs: ['attended', after('down', config.resid_pdrop)], output: 'y', bytes: x, passesGradient: true },
  ];
  const head = [...norm('x', 'normed'), ...languageHead(rows, width, vocabulary, batch)];
  const inner: UnitInput = { name: 'x', bytes: x, wantsGradient: true };
  return [
    { input: noInput, ops: embedding },
    ...Array.from({ length: n_layer }, () => ({ input: inner, ops: block })),
    { input: inner, ops: head },
  ];
}

export function llamaUnits({ config }: Llama, batch: BatchShape): DescribedUnit[] {
  const { hidden_size, num_hidden_layers: layers, vocab_size: vocabulary, head_dim: headSize } = config;
  const width = ownWidth(hidden_size, batch);
  // Where ranks share the width, the sum over a row is one over ranks: no kernel of its own.
  const between = { ...batch, fused: batch.fused && (batch.blocks ?? null) === null };
  const { sequences, length, tensor, elementBytes: size } = batch;
  const hidden = config.intermediate_size / tensor;
  const heads = config.num_attention_heads / tensor;
  const kvHeads = config.num_key_value_heads / tensor;
  const rows = sequences * length;
  const x = rows * width * size;
  const isSilu = config.hidden_act === 'silu';
  /** `copies` of an MLP that share the rows. */
  const mlp = (input: string, output: string, count: number, copies: number): UnitOp[] => {
    const shared = (op: UnitOp): UnitOp =>
      copies === 1 ? op : { ...op, parameterGradientBytes: copies * (op.parameterGradientBytes ?? 0) };
    return [
      shared(linear(input, 'gate', [count, width, hidden], batch, config.mlp_bias)),
      shared(linear(input, 'up', [count, width, hidden], batch, config.mlp_bias)),
      ...gated(count * hidden * size, batch.fused && isSilu, isSilu),
      shared(summed(linear('product', output, [count, hidden, width], batch, config.mlp_bias), batch)),
    ];
  };
  const block = (window: number | null): UnitOp[] => {
    const shape = { heads, kvHeads, headSize, window, dropout: config.attention_dropout };
    const normed = (name: string, count: number): UnitOp[] =>
      config.qk_norm ? rmsNorm(name, `${name} normed`, rows * count, headSize, batch) : [];
    const [query, key] = config.qk_norm ? ['query normed', 'key normed'] : ['query', 'key'];
    return [
      ...rmsNorm('x', 'x1', rows, width, between),
      linear('x1', 'query', [rows, width, heads * headSize], batch, config.attention_bias),
      linear('x1', 'key', [rows, width, kvHeads * headSize], batch, config.attention_bias),
      linear('x1', 'value', [rows, width, kvHeads * headSize], batch, config.attention_bias),
      ...normed('query', heads),
      ...normed('key', kvHeads),
      ...rotary(query!, 'query turned', rows * heads * headSize * size, batch),
      ...rotary(key!, 'key turned', rows * kvHeads * headSize * size, batch),
      ...attention(['query turned', 'key turned', 'value'], 'mixed', shape, batch),
      summed(linear('mixed', 'projected', [rows, heads * headSize, width], batch, config.attention_output_bias), batch),
      { inputs: ['x', 'projected'], output: 'attended', bytes: x, passesGradient: true },
      ...rmsNorm('attended', 'x2', rows, width, between),
      ...(config.mixture === undefined
        ? mlp('x2', 'down', rows, 1)
        : mixture(config.mixture, ['x2', 'down'], { rows, width, mlp }, batch)),
      { inputs: ['attended', 'down'], output: 'y', bytes: x, passesGradient: true },
    ];
  };
  const head = [...rmsNorm('x', 'normed', rows, width, between), ...languageHead(rows, width, vocabulary, batch)];
  const inner: UnitInput = { name: 'x', bytes: x, wantsGradient: true };
  const windowOf = (layer: number): number | null =>
    config.layer_types === null || config.layer_types[layer] === 'sliding_attention' ? config.sliding_window : null;
  const embedding = embedded('y', rows, width, vocabulary, batch);
  return [
    { input: noInput, ops: [embedding] },
    ...Array.from({ length: layers }, (_, layer) => ({ input: inner, ops: block(windowOf(layer)) })),
    { input: inner, ops: head },
  ];
}

/** Cosines and sines, made in the first block and kept. */
export function llamaTables({ config }: Llama, { length, elementBytes }: BatchShape): number {
  return 2 * length * config.head_dim * elementBytes;
}

/** Rows of a table; of one that is cut by ids, zeros for those of other ranks, and then the sum over all. */
function embedded(output: string, rows: number, width: number, vocabulary: number, batch: BatchShape): UnitOp {
  const { tensor, elementBytes: size, blocks = null } = batch;
  const bytes = rows * width * size;
  const parameterGradientBytes = Math.ceil(vocabulary / tensor) * width * size;
  const op: UnitOp = { inputs: [], output, bytes, parameterGradientBytes };
  if (blocks !== null) {
    // Rows of all tokens along an edge, of which each rank keeps its own; on a cube the table is gathered, too.
    const { edge, isCube, depth } = blocks;
    const table = isCube ? parameterGradientBytes : 0;
    const summed = isCube || depth > 1 ? 2 * parameterGradientBytes : 0;
    const work = { forwardWork: 2 * edge * bytes + table, backwardWork: edge * bytes + summed };
    const own = parameterGradientBytes / (isCube ? edge : 1);
    return { ...op, parameterGradientBytes: own, savedBytes: edge * rows * (8 + size), ...work };
  }
  return tensor === 1 ? op : { ...op, savedBytes: rows * (8 + size), forwardWork: 2 * bytes, backwardWork: bytes };
}

/** A table that all samples use: ranks with blocks gather it. */
const tableWork = (bytes: number, { blocks = null }: BatchShape): Partial<UnitOp> =>
  blocks === null
    ? { parameterGradientBytes: bytes }
    : {
        parameterGradientBytes: bytes / blocks.edge ** (blocks.isCube ? 2 : 1),
        forwardWork: 2 * bytes,
        backwardWork: 2 * bytes,
      };

/** A product whose parts are summed over ranks, in a copy; products of blocks are counted with their own. */
const summed = (op: UnitOp, { tensor, blocks = null }: BatchShape): UnitOp =>
  tensor === 1 || blocks !== null ? op : { ...op, forwardWork: (op.forwardWork ?? 0) + op.bytes };

function layerNorm(input: string, output: string, rows: number, width: number, batch: BatchShape): UnitOp[] {
  const { elementBytes, wideBytes, blocks = null } = batch;
  const bytes = rows * width * elementBytes;
  if (blocks !== null) {
    // In plain operators: less the mean, as RMSNorm, plus the bias.
    const [centred, scaled] = [`${output} centred`, `${output} scaled`] as const;
    return [
      { inputs: [input], output: centred, bytes: rows * width * wideBytes, inner: true },
      ...rmsNorm(centred, scaled, rows, width, { ...batch, fused: false }),
      { inputs: [scaled], output, bytes, passesGradient: true, parameterGradientBytes: width * elementBytes },
    ];
  }
  return [
    {
      inputs: [input],
      output,
      bytes,
      saves: [input],
      savedBytes: 2 * rows * wideBytes,
      parameterGradientBytes: 2 * width * elementBytes,
    },
  ];
}

function rmsNorm(input: string, output: string, rows: number, width: number, batch: BatchShape): UnitOp[] {
  const { elementBytes: size, wideBytes } = batch;
  const bytes = rows * width * size;
  const parameterGradientBytes = width * size;
  if (batch.fused)
    return [{ inputs: [input], output, bytes, saves: [input], savedBytes: rows * 4, parameterGradientBytes }];
  const wideRow = rows * width * wideBytes;
  const casts = size !== wideBytes;
  const [wide, square, mean, normal, narrow] = ['wide', 'square', 'mean', 'normal', 'narrow'].map(
    (x) => `${output} ${x}`,
  );
  const from = casts ? wide! : input;
  const rounded = casts ? narrow! : normal!;
  const inner = true;
  return [
    ...(casts ? [{ inputs: [input], output: from, bytes: wideRow, inner }] : []),
    { inputs: [from], output: square!, bytes: wideRow, saves: [from], backwardWork: wideRow, inner },
    { inputs: [square!], output: mean!, bytes: 3 * rows * wideBytes, saves: [mean!], inner },
    { inputs: [from, mean!], output: normal!, bytes: wideRow, saves: [from], backwardWork: wideRow, inner },
    ...(casts ? [{ inputs: [normal!], output: rounded, bytes, inner }] : []),
    { inputs: [rounded], output, bytes, saves: [rounded], backwardWork: bytes, parameterGradientBytes },
  ];
}

/** x·cos + swapped(x)·sin: the halves swapped and one negated, two products and their sum. */
function rotary(input: string, output: string, bytes: number, { fused }: BatchShape): UnitOp[] {
  if (fused) return [{ inputs: [input], output, bytes }];
  const inner = true;
  return [
    { inputs: [input], output: `${output} negated`, bytes: bytes / 2, backwardWork: bytes, inner },
    { inputs: [`${output} negated`, input], output: `${output} swapped`, bytes, inner },
    { inputs: [input], output: `${output} cosines`, bytes, inner },
    { inputs: [`${output} swapped`], output: `${output} sines`, bytes, inner },
    { inputs: [`${output} cosines`, `${output} sines`], output, bytes, passesGradient: true },
  ];
}

/** activation(gate) · up; as one operator for SiLU. */
function gated(bytes: number, fused: boolean, inner: boolean): UnitOp[] {
  if (fused) return [{ inputs: ['gate', 'up'], output: 'product', bytes, saves: ['gate', 'up'] }];
  return [
    { inputs: ['gate'], output: 'active', bytes, saves: ['gate'], inner },
    { inputs: ['active', 'up'], output: 'product', bytes, saves: ['active', 'up'] },
  ];
}

function dropout(input: string, output: string, bytes: number, size: number): UnitOp {
  return { inputs: [input], output, bytes, savedBytes: bytes / size };
}

/** Projection to the vocabulary and the loss, in chunks of rows; backward makes the logits again. */
function languageHead(rows: number, width: number, vocabulary: number, batch: BatchShape): UnitOp[] {
  const { tensor, elementBytes: size, wideBytes } = batch;
  if (tensor > 1) return [cutHead(rows, width, Math.ceil(vocabulary / tensor), batch)];
  const chunk = Math.min(rows, lossTokensPerChunk(vocabulary));
  const several = rows > chunk;
  const logits = chunk * vocabulary;
  const casts = size !== wideBytes;
  const weight = vocabulary * width;
  const forwardWork = logits * wideBytes * (batch.fused ? 1 : 2) + rows * (wideBytes + 9);
  // Wide logits and their narrow copy; then that copy, one product with its wide copy, and the sum so far, into which a GPU adds directly.
  const parts = batch.fused && casts ? 0 : casts ? weight * (size + wideBytes) : weight * wideBytes;
  const sum = several || (batch.fused && casts) ? weight * wideBytes : 0;
  const softmax = logits * (wideBytes + (casts ? size : 0)) + (several ? sum : 0);
  const backwardWork = Math.max(softmax, logits * size + parts + sum) - weight * size;
  return [
    {
      inputs: ['normed'],
      output: 'loss',
      bytes: wideBytes,
      saves: ['normed'],
      savedBytes: rows * wideBytes,
      forwardWork,
      backwardWork: Math.max(0, backwardWork),
      parameterGradientBytes: weight * size,
      macs: rows * weight,
      backwardRatio: 3,
    },
  ];
}

/** Under tensor parallelism the loss keeps the probabilities of this rank's part of the vocabulary: logits are never gathered. */
function cutHead(rows: number, width: number, columns: number, batch: BatchShape): UnitOp {
  const { elementBytes: size, wideBytes, blocks = null } = batch;
  const logits = rows * columns;
  const casts = size !== wideBytes;
  const weight = columns * width;
  const op = {
    inputs: ['normed'],
    output: 'loss',
    bytes: wideBytes,
    saves: ['normed'],
    savedBytes: logits * wideBytes + rows * (2 * wideBytes + 10),
    // The logits and a wide copy of them, from which the probabilities are made.
    forwardWork: logits * (size + (casts ? wideBytes : 0)),
    backwardWork: logits * (wideBytes + size) + rows * width * size,
    parameterGradientBytes: weight * size,
    macs: rows * weight,
  };
  return blocks === null ? op : inBlocks(op, [rows, width, columns], size, blocks, false);
}
