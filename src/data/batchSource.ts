import type { DataPosition, DataSource, RestoreOptions } from './dataSource.ts';
import { type OrderOptions, SampleOrder } from './sampleOrder.ts';
import type { TokenDataset } from './tokenDataset.ts';

/** The label that losses leave out, as in libtorch's cross entropy. */
export const ignoredLabel = -100;

/** This rank's part of a batch, row after row: shape [sequences, sequenceLength], int64. */
export interface TokenBatch {
  readonly inputs: BigInt64Array;
  /** One token ahead of `inputs`; {@link ignoredLabel} where the loss does not count. */
  readonly labels: BigInt64Array;
  readonly shape: readonly [sequences: number, sequenceLength: number];
  /** Labels in this part that count; in chat data it may be 0. */
  readonly countedLabels: number;
  readonly epoch: number;
  /** True for the last batch of its epoch. */
  readonly lastOfEpoch: boolean;
}

/** Batches of a token dataset in the order of {@link SampleOrder}: by seed and epoch, the same for any number of ranks. */
export class BatchSource implements DataSource<TokenBatch> {
  readonly dataset: TokenDataset;
  readonly #order: SampleOrder;
  readonly #ids: Int32Array;
  readonly #trained: Uint8Array;

  /** @throws E_ARGUMENT for impossible options, E_DATA when the dataset does not fill one batch. */
  constructor(dataset: TokenDataset, options: OrderOptions) {
    const { sequences, sequenceLength, fingerprint } = dataset;
    this.dataset = dataset;
    this.#order = new SampleOrder(
      { count: sequences, what: `sequences of ${sequenceLength} tokens`, fingerprint },
      options,
    );
    this.#ids = new Int32Array(sequenceLength + 1);
    this.#trained = new Uint8Array(sequenceLength + 1);
  }

  /** Sequences in one batch over all ranks. */
  get batchSize(): number {
    return this.#order.batchSize;
  }

  get batchesPerEpoch(): number {
    return this.#order.batchesPerEpoch;
  }

  get epoch(): number {
    return this.#order.epoch;
  }

  /** The next batch, of the next epoch when this one is done. Its arrays are fresh and belong to the caller. */
  next(): TokenBatch {
    const { indices, epoch, lastOfEpoch } = this.#order.next();
    const n = this.dataset.sequenceLength;
    const inputs = new BigInt64Array(indices.length * n);
    const labels = new BigInt64Array(indices.length * n);
    let countedLabels = 0;
    for (const [row, index] of indices.entries()) {
      this.dataset.read(index, this.#ids, this.#trained);
      countedLabels += fillRow(this.#ids, this.#trained, n, row * n, inputs, labels);
    }
    return { inputs, labels, shape: [indices.length, n], countedLabels, epoch, lastOfEpoch };
  }

  /** The batches that are left of the current epoch. */
  *restOfEpoch(): Generator<TokenBatch, void, undefined> {
    for (let last = false; !last; ) {
      const batch = this.next();
      last = batch.lastOfEpoch;
      yield batch;
    }
  }

  position(): DataPosition {
    return this.#order.position();
  }

  restore(position: DataPosition, options?: RestoreOptions): void {
    this.#order.restore(position, options);
  }
}

/**
 * Writes one sequence as inputs and labels and returns how many labels count. The 64-bit words are written as two halves
 * (all our platforms are little-endian), since a BigInt per token would be an allocation per token.
 */
function fillRow(
  ids: Int32Array,
  trained: Uint8Array,
  n: number,
  at: number,
  inputs: BigInt64Array,
  labels: BigInt64Array,
): number {
  const inputWords = new Int32Array(inputs.buffer, at * 8, n * 2);
  const labelWords = new Int32Array(labels.buffer, at * 8, n * 2);
  let counted = 0;
  for (let index = 0; index < n; index++) {
    inputWords[2 * index] = ids[index]!;
    const counts = trained[index + 1] === 1;
    labelWords[2 * index] = counts ? ids[index + 1]! : ignoredLabel;
    if (counts) counted++;
    else labelWords[2 * index + 1] = -1;
  }
  return counted;
}
