/** For scripts that run as ranks (`ranks.ts`). */
import type { DataPosition } from '../../src/data/index.ts';
import { momentBlock } from '../../src/memory/index.ts';
import type { TokenBatch } from '../../src/models/index.ts';
import type { StateEntry } from '../../src/offload/store.ts';
import { type Dtype, ops, type Tensor } from '../../src/tensor/index.ts';
import { tokens } from '../native/engineSupport.ts';

/** Tells the test that this rank has come to a named place. */
export function mark(name: string): void {
  process.send!({ mark: name });
}

/** What `body` throws, as a test compares it. */
export function thrown(body: () => unknown): { code: string; message: string; details: Record<string, unknown> } {
  try {
    body();
  } catch (error) {
    const { code, message, details } = error as { code: string; message: string; details: Record<string, unknown> };
    return { code, message, details };
  }
  throw new Error('nothing was thrown');
}

/** A tensor of these numbers. */
export const tensorOf = (values: readonly number[], dtype: Dtype = 'float64', shape?: readonly number[]): Tensor =>
  ops.to(ops.fromArray(values, shape ?? [values.length], { dtype: 'float64' }), { dtype });

export const valuesOf = (tensor: Tensor): number[] => ops.toArray(ops.to(tensor, { dtype: 'float64' }));

/** Where data stand that nobody reads from a corpus, for checkpoints. */
export const noPosition: DataPosition = {
  version: 1,
  fingerprint: null,
  samples: null,
  shuffle: false,
  seed: 0,
  epoch: 0,
  sample: 0,
};

/** Rank `rank`'s rows of a micro-batch of `rows` sequences of 8 tokens that all `size` ranks share. */
export function rowsOf(rows: number, index: number, rank: number, size: number): TokenBatch & { labels: Tensor } {
  const all = tokens(rows, 8, index + 1);
  const part = (tensor: Tensor): Tensor => {
    const own = ops.contiguous(ops.slice(tensor, 0, (rank * rows) / size, ((rank + 1) * rows) / size)).keep();
    tensor.dispose();
    return own;
  };
  return { ids: part(all.ids), labels: part(all.labels) };
}

export function freeBatch({ ids, labels }: TokenBatch): void {
  ids.dispose();
  labels?.dispose();
}

/** Bytes of an element of an entry, and how many elements are those of a page of 4096 of the parameter's. */
export function pagesIn({ bytes, part, shape, parameter }: StateEntry): {
  readonly size: number;
  readonly count: number;
} {
  const elements = part?.elements ?? (shape ?? parameter.shape).reduce((product, size) => product * size, 1);
  return { size: bytes / elements, count: shape === undefined ? 4096 : 4096 / momentBlock };
}
