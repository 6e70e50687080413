/**
 * Attention as lists of operators: over the tokens of this process, or over a sequence that ranks share in one of the three ways
 * of `src/dist/sequence`. Sizes are those of one rank.
 */
import { copiesOfHeads, type SequenceModeName } from '../dist/sequence/index.ts';
import type { BatchShape } from './planBatch.ts';
import type { UnitOp } from './planOps.ts';

/** How a sequence is shared, and by how many. */
export interface SharedSequence {
  readonly mode: SequenceModeName;
  readonly parts: number;
}

export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly window: number | null;
  readonly dropout: number;
}

type QueryKeyValue = readonly [query: string, key: string, value: string];

/** Softmax of queries and keys over values, from `names` to `output`. */
export function attention(
  names: QueryKeyValue,
  output: string,
  shape: AttentionShape,
  batch: BatchShape,
): readonly UnitOp[] {
  const { share = null } = batch;
  if (share === null) return whole(names, output, shape, batch);
  const { mode, parts } = share;
  if (mode === 'heads') return byHeads(names, output, shape, batch, parts);
  return mode === 'ring' ? byRing(names, output, shape, batch, parts) : byScores(names, output, shape, batch, parts);
}

/** Causal: half the scores are never computed. */
function whole(
  names: QueryKeyValue,
  output: string,
  { heads, headSize, window, dropout }: AttentionShape,
  { sequences, length, elementBytes, wideBytes }: BatchShape,
): UnitOp[] {
  const bytes = sequences * length * heads * headSize * elementBytes;
  const scores = sequences * heads * length * length;
  const fused = dropout === 0 && (window === null || window >= length);
  const inputs = [...new Set(names)];
  return [
    {
      inputs,
      output,
      bytes,
      saves: [...inputs, output],
      savedBytes: sequences * heads * length * wideBytes + (fused ? 0 : 2 * scores * elementBytes),
      backwardWork: fused ? 0 : 2 * scores * elementBytes,
      macs: scores * headSize * (fused ? 1 : 2),
      backwardRatio: 2.5,
    },
  ];
}

/** All tokens of some heads inside: queries, keys and values there, results back. What goes and what comes lie beside each other. */
function byHeads(
  [query, key, value]: QueryKeyValue,
  output: string,
  { heads, kvHeads, headSize, ...rest }: AttentionShape,
  batch: BatchShape,
  parts: number,
): UnitOp[] {
  const copies = copiesOfHeads(heads, kvHeads, parts);
  const each = batch.sequences * batch.length * headSize * batch.elementBytes;
  const exchanged = (from: string, to: string, bytes: number): UnitOp => ({
    inputs: [from],
    output: to,
    bytes,
    forwardWork: 2 * bytes,
    backwardWork: 2 * bytes,
  });
  const ofKeys = (from: string, to: string): UnitOp[] => {
    const bytes = each * kvHeads * copies;
    if (copies === 1) return [exchanged(from, to, bytes)];
    return [{ inputs: [from], output: `${to} copies`, bytes }, exchanged(`${to} copies`, to, bytes)];
  };
  const inside = { ...rest, heads: heads / parts, kvHeads: (kvHeads * copies) / parts, headSize };
  const all = ['all queries', 'all keys', 'all values'] as const;
  return [
    exchanged(query, all[0], each * heads),
    ...ofKeys(key, all[1]),
    ...ofKeys(value, all[2]),
    ...whole(all, 'all mixed', inside, { ...batch, length: batch.length * parts }),
    exchanged('all mixed', output, each * heads),
  ];
}

/** Scores that exist at once, in elements: `native/src/dist/ringAttention.cc`. */
const tileScores = 2 ** 24;

/** Blocks of keys and values come by, and scores exist a tile at a time; outputs are merged in the wide type. */
function byRing(
  names: QueryKeyValue,
  output: string,
  { heads, kvHeads, headSize }: AttentionShape,
  { sequences, length, elementBytes: size, wideBytes: wide }: BatchShape,
  parts: number,
): UnitOp[] {
  const rows = sequences * length;
  const queries = rows * heads * headSize;
  const blocks = 2 * rows * kvHeads * headSize;
  const run = length / 2;
  const tile = Math.min(run, Math.max(1, Math.floor(tileScores / Math.max(1, sequences * heads * run))));
  const scores = sequences * heads * tile * run;
  const casts = size !== wide ? 1 : 0;
  const inputs = [...new Set(names)];
  return [
    {
      inputs,
      output,
      bytes: queries * size,
      saves: [...inputs, output],
      savedBytes: rows * heads * wide,
      // The own block, the one at work and the one that comes; the sum where it is wider; a tile's scores, weights and products.
      forwardWork: 3 * blocks * size + casts * queries * wide + scores * (2 * wide + casts * 2 * size),
      // The same, and gradients of queries, of the own block, of the one at work, of those that go and come.
      backwardWork: 3 * blocks * size + 4 * blocks * wide + 2 * queries * wide + scores * (2 * wide + casts * 2 * size),
      // Half the scores are never computed.
      macs: sequences * heads * length * length * parts * headSize,
      backwardRatio: 2.5,
    },
  ];
}

/** Rows of scores over the whole sequence, as plain operators. */
function byScores(
  [query, key, value]: QueryKeyValue,
  output: string,
  { heads, kvHeads, headSize, dropout }: AttentionShape,
  { sequences, length, elementBytes: size, wideBytes: wide }: BatchShape,
  parts: number,
): UnitOp[] {
  const rows = sequences * length;
  const columns = length * parts;
  const scores = rows * heads * columns;
  const queries = rows * heads * headSize;
  const keys = rows * kvHeads * headSize * size;
  const casts = size !== wide;
  const weights = casts ? 'weights' : 'softmax';
  const mixedFrom = dropout > 0 ? 'dropped weights' : weights;
  const wideFrom = casts ? 'wide scores' : 'scores';
  const macs = scores * headSize;
  // Blocks that pass by; backward the parts of all ranks' gradients, which are then summed and cut.
  const work = { forwardWork: 2 * keys, backwardWork: (2 + parts) * keys, macs };
  return [
    { inputs: [...new Set([query, key])], output: 'scores', bytes: scores * size, saves: [query, key], ...work },
    ...(casts ? [{ inputs: ['scores'], output: wideFrom, bytes: scores * wide }] : []),
    { inputs: [wideFrom], output: 'scaled', bytes: scores * wide },
    // The distances, and where a key lies ahead.
    {
      inputs: ['scaled'],
      output: 'masked',
      bytes: scores * wide,
      forwardWork: 8 * length * columns,
      savedBytes: length * columns,
    },
    { inputs: ['masked'], output: 'softmax', bytes: scores * wide, saves: ['softmax'], backwardWork: scores * wide },
    ...(casts ? [{ inputs: ['softmax'], output: weights, bytes: scores * size }] : []),
    ...(dropout > 0 ? [{ inputs: [weights], output: mixedFrom, bytes: scores * size, savedBytes: scores }] : []),
    {
      inputs: [mixedFrom, value],
      output,
      bytes: queries * size,
      saves: [mixedFrom, value],
      ...work,
      forwardWork: work.forwardWork + queries * wide,
    },
  ];
}
