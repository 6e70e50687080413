import { check, TierraError } from '../core/errors.ts';
import {
  checkPosition,
  type DataPosition,
  type DataSource,
  type RankOptions,
  type RestoreOptions,
} from './dataSource.ts';
import { keyedPermutation } from './permutation.ts';
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

export interface BatchOptions extends RankOptions {
  /** Sequences in one batch over all ranks; must be a multiple of `ranks`. */
  readonly batchSize: number;
  readonly seed?: number;
  /** Default true. Every epoch has its own order. */
  readonly shuffle?: boolean;
  /** Default true: leave out the sequences that do not fill a last batch. Otherwise it is shorter, for some ranks perhaps empty. */
  readonly dropLast?: boolean;
}

/**
 * Batches of a dataset in an order that depends on seed and epoch alone: the same sequences in the same global batch
 * for any number of ranks, rank r taking the r-th of equal parts. Nothing of the order is stored.
 */
export class BatchSource implements DataSource<TokenBatch> {
  readonly dataset: TokenDataset;
  readonly batchSize: number;
  readonly batchesPerEpoch: number;
  readonly #seed: number;
  readonly #shuffle: boolean;
  readonly #rank: number;
  readonly #ranks: number;
  /** Samples used in one epoch. */
  readonly #samples: number;
  readonly #ids: Int32Array;
  readonly #trained: Uint8Array;
  #order: (index: number) => number;
  #epoch = 0;
  #sample = 0;

  /** @throws E_ARGUMENT for impossible options, E_DATA when the dataset does not fill one batch. */
  constructor(dataset: TokenDataset, options: BatchOptions) {
    const { batchSize, seed = 0, shuffle = true, dropLast = true, rank = 0, ranks = 1 } = options;
    checkRank(rank, ranks);
    check(Number.isInteger(batchSize) && batchSize >= 1, `batch size ${batchSize}: expected a whole number from 1`);
    check(
      batchSize % ranks === 0,
      `batch size ${batchSize} over ${ranks} ranks: ${batchSize} / ${ranks} is not whole`,
      {
        hint: 'The batch size counts the sequences of all ranks together.',
      },
    );
    check(Number.isSafeInteger(seed), `seed ${seed}: expected a whole number`);
    if (dataset.sequences < (dropLast ? batchSize : 1)) {
      throw new TierraError(
        'E_DATA',
        `the dataset has ${dataset.sequences} sequences of ${dataset.sequenceLength} tokens, fewer than one batch of ${batchSize}`,
        { hint: 'Use a smaller batch size or sequence length, or more data.' },
      );
    }
    this.dataset = dataset;
    this.batchSize = batchSize;
    this.batchesPerEpoch = (dropLast ? Math.floor : Math.ceil)(dataset.sequences / batchSize);
    this.#samples = Math.min(dataset.sequences, this.batchesPerEpoch * batchSize);
    this.#seed = seed;
    this.#shuffle = shuffle;
    this.#rank = rank;
    this.#ranks = ranks;
    this.#ids = new Int32Array(dataset.sequenceLength + 1);
    this.#trained = new Uint8Array(dataset.sequenceLength + 1);
    this.#order = this.#orderOf(0);
  }

  get epoch(): number {
    return this.#sample >= this.#samples ? this.#epoch + 1 : this.#epoch;
  }

  /** The next batch, of the next epoch when this one is done. Its arrays are fresh and belong to the caller. */
  next(): TokenBatch {
    if (this.#sample >= this.#samples) this.#moveTo(this.#epoch + 1, 0);
    const size = Math.min(this.batchSize, this.#samples - this.#sample);
    const from = this.#sample + Math.floor((this.#rank * size) / this.#ranks);
    const to = this.#sample + Math.floor(((this.#rank + 1) * size) / this.#ranks);
    const n = this.dataset.sequenceLength;
    const inputs = new BigInt64Array((to - from) * n);
    const labels = new BigInt64Array((to - from) * n);
    let countedLabels = 0;
    for (let sample = from; sample < to; sample++) {
      this.dataset.read(this.#order(sample), this.#ids, this.#trained);
      countedLabels += fillRow(this.#ids, this.#trained, n, (sample - from) * n, inputs, labels);
    }
    this.#sample += size;
    return {
      inputs,
      labels,
      shape: [to - from, n],
      countedLabels,
      epoch: this.#epoch,
      lastOfEpoch: this.#sample >= this.#samples,
    };
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
    return { version: 1, ...this.#identity(), epoch: this.#epoch, sample: this.#sample };
  }

  restore(position: DataPosition, options: RestoreOptions = {}): void {
    checkPosition(position, this.#identity(), options);
    this.#moveTo(position.epoch, Math.min(position.sample, this.#samples));
  }

  #identity() {
    const { fingerprint, sequences } = this.dataset;
    return { fingerprint, samples: sequences, shuffle: this.#shuffle, seed: this.#seed };
  }

  #moveTo(epoch: number, sample: number): void {
    if (epoch !== this.#epoch) this.#order = this.#orderOf(epoch);
    this.#epoch = epoch;
    this.#sample = sample;
  }

  #orderOf(epoch: number): (index: number) => number {
    return this.#shuffle ? keyedPermutation(this.dataset.sequences, this.#seed, epoch) : (index) => index;
  }
}

export function checkRank(rank: number, ranks: number): void {
  check(Number.isInteger(ranks) && ranks >= 1, `ranks ${ranks}: expected a whole number from 1`);
  check(Number.isInteger(rank) && rank >= 0 && rank < ranks, `rank ${rank} is not in 0..${ranks - 1}`);
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
