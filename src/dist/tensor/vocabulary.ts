/**
 * Tables of a vocabulary in blocks. Blocks travel, so they are of one size, and a vocabulary need not divide: the last ones hold
 * fewer rows, and zeros take the place of those that are missing while they are used.
 */
import { TierraError } from '../../core/errors.ts';
import { type init, Parameter } from '../../nn/index.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import { type Groups, type Layout, numberIn, rangeOf } from './layout.ts';

/** Rows of each block where the groups of `cut` share `vocabulary` rows. */
export function rowsOfBlock(vocabulary: number, cut: readonly string[], groups: Groups): number {
  return Math.ceil(vocabulary / cut.reduce((product, name) => product * groups[name]!.size, 1));
}

/** This rank's part of a table, its rows cut as `layout` says. Throws `E_CONFIG` where some rank would have none. */
export function tableParameter(layout: Layout, initial: init.Initializer, groups: Groups): Parameter {
  const [vocabulary, width] = layout.shape as [number, number];
  const [rowCut = [], widthCut = []] = layout.cuts;
  const rows = rowsOfBlock(vocabulary, rowCut, groups);
  const parts = rowCut.reduce((product, name) => product * groups[name]!.size, 1);
  if (rows * (parts - 1) >= vocabulary) {
    throw new TierraError('E_CONFIG', `a vocabulary of ${vocabulary} cannot be cut into ${parts} blocks of ${rows}`, {
      hint: 'Take fewer ranks for tensor parallelism, or a larger vocabulary.',
    });
  }
  const { begin } = rangeOf(rows * parts, rowCut, groups, 'vocabulary');
  const ranges = [[{ begin, end: Math.min(begin + rows, vocabulary) }], [rangeOf(width, widthCut, groups, 'width')]];
  return Parameter.part({ shape: layout.shape, ranges, copy: numberIn(groups, layout.cuts.flat()) }, initial);
}

/** x `[n, m]` as `[rows, m]`, with `value` in the rows that it lacks. */
export function filled(x: Tensor, rows: number, value = 0): Tensor {
  const missing = rows - x.size(0);
  if (missing === 0) return x;
  return ops.cat([x, ops.full([missing, x.size(1)], value, { dtype: x.dtype, device: x.device })], 0);
}

/** The columns of logits `[tokens, columns]`, the first of which is of id `first`, that are of the vocabulary. */
export function knownColumns(logits: Tensor, first: number, vocabulary: number): Tensor {
  const known = Math.min(logits.size(1), vocabulary - first);
  return known === logits.size(1) ? logits : ops.contiguous(ops.slice(logits, 1, 0, known));
}
