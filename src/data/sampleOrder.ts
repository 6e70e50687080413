import { check, TierraError } from '../core/errors.ts';
import { checkPosition, type DataPosition, type RankOptions, type RestoreOptions } from './dataSource.ts';
import { keyedPermutation } from './permutation.ts';

export interface OrderOptions extends RankOptions {
  /** Samples in one batch over all ranks; must be a multiple of `ranks`. */
  readonly batchSize: number;
  readonly seed?: number;
  /** Default true. Every epoch has its own order. */
  readonly shuffle?: boolean;
  /** Default true: leave out the samples that do not fill a last batch. Otherwise it is shorter, for some ranks perhaps empty. */
  readonly dropLast?: boolean;
}

/** What is put in order: `count` samples called `what` in messages. */
export interface OrderedData {
  readonly count: number;
  readonly what: string;
  readonly fingerprint: string | null;
}

/** The samples that one rank takes from one batch. */
export interface OrderedBatch {
  readonly indices: readonly number[];
  readonly epoch: number;
  readonly lastOfEpoch: boolean;
}

/**
 * Which samples come when: an order that depends on seed and epoch alone, the same samples in the same global batch for
 * any number of ranks, rank r taking the r-th of equal parts. Nothing of the order is stored.
 */
export class SampleOrder {
  readonly batchSize: number;
  readonly batchesPerEpoch: number;
  readonly #data: OrderedData;
  readonly #seed: number;
  readonly #shuffle: boolean;
  readonly #rank: number;
  readonly #ranks: number;
  /** Samples used in one epoch. */
  readonly #used: number;
  #order: (index: number) => number;
  #epoch = 0;
  #sample = 0;

  /** @throws E_ARGUMENT for impossible options, E_DATA when the data do not fill one batch. */
  constructor(data: OrderedData, options: OrderOptions) {
    const { batchSize, seed = 0, shuffle = true, dropLast = true, rank = 0, ranks = 1 } = options;
    checkRank(rank, ranks);
    check(Number.isInteger(batchSize) && batchSize >= 1, `batch size ${batchSize}: expected a whole number from 1`);
    check(
      batchSize % ranks === 0,
      `batch size ${batchSize} over ${ranks} ranks: ${batchSize} / ${ranks} is not whole`,
      {
        hint: 'The batch size counts the samples of all ranks together.',
      },
    );
    check(Number.isSafeInteger(seed), `seed ${seed}: expected a whole number`);
    if (data.count < (dropLast ? batchSize : 1)) {
      throw new TierraError(
        'E_DATA',
        `the data have ${data.count} ${data.what}, fewer than one batch of ${batchSize}`,
        {
          hint: 'Use a smaller batch, shorter samples or more data.',
        },
      );
    }
    this.batchSize = batchSize;
    this.batchesPerEpoch = (dropLast ? Math.floor : Math.ceil)(data.count / batchSize);
    this.#data = data;
    this.#used = Math.min(data.count, this.batchesPerEpoch * batchSize);
    this.#seed = seed;
    this.#shuffle = shuffle;
    this.#rank = rank;
    this.#ranks = ranks;
    this.#order = this.#orderOf(0);
  }

  /** The epoch of the next batch. */
  get epoch(): number {
    return this.#sample >= this.#used ? this.#epoch + 1 : this.#epoch;
  }

  next(): OrderedBatch {
    if (this.#sample >= this.#used) this.#moveTo(this.#epoch + 1, 0);
    const size = Math.min(this.batchSize, this.#used - this.#sample);
    const from = this.#sample + Math.floor((this.#rank * size) / this.#ranks);
    const to = this.#sample + Math.floor(((this.#rank + 1) * size) / this.#ranks);
    this.#sample += size;
    return {
      indices: Array.from({ length: to - from }, (_, index) => this.#order(from + index)),
      epoch: this.#epoch,
      lastOfEpoch: this.#sample >= this.#used,
    };
  }

  position(): DataPosition {
    return { version: 1, ...this.#identity(), epoch: this.#epoch, sample: this.#sample };
  }

  restore(position: DataPosition, options?: RestoreOptions): void {
    checkPosition(position, this.#identity(), options);
    this.#moveTo(position.epoch, Math.min(position.sample, this.#used));
  }

  #identity() {
    const { fingerprint, count } = this.#data;
    return { fingerprint, samples: count, shuffle: this.#shuffle, seed: this.#seed };
  }

  #moveTo(epoch: number, sample: number): void {
    if (epoch !== this.#epoch) this.#order = this.#orderOf(epoch);
    this.#epoch = epoch;
    this.#sample = sample;
  }

  #orderOf(epoch: number): (index: number) => number {
    return this.#shuffle ? keyedPermutation(this.#data.count, this.#seed, epoch) : (index) => index;
  }
}

export function checkRank(rank: number, ranks: number): void {
  check(Number.isInteger(ranks) && ranks >= 1, `ranks ${ranks}: expected a whole number from 1`);
  check(Number.isInteger(rank) && rank >= 0 && rank < ranks, `rank ${rank} is not in 0..${ranks - 1}`);
}
