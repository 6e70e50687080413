import { TierraError } from '../core/errors.ts';
import {
  checkPosition,
  type DataPosition,
  type DataSource,
  type RankOptions,
  type RestoreOptions,
} from './dataSource.ts';
import { checkRank } from './sampleOrder.ts';

export type AnyIterable<T> = Iterable<T> | AsyncIterable<T>;

export interface IterableOptions extends RankOptions {
  /** Something that changes when the data change; a position is then refused for other data. */
  readonly fingerprint?: string;
}

/**
 * Batches from an iterable, each item one batch; of every `ranks` items in a row each rank gets one. The iterable is gone
 * through once per epoch, so give a function (of the epoch) where it can be used only once, as a generator can.
 * The position is a count: restoring starts the epoch anew and skips, so the iterable must give the same items again.
 */
export function fromIterable<T>(
  data: AnyIterable<T> | ((epoch: number) => AnyIterable<T>),
  options: IterableOptions = {},
): DataSource<T> {
  return new IterableSource(typeof data === 'function' ? data : () => data, options);
}

class IterableSource<T> implements DataSource<T> {
  readonly batchesPerEpoch = null;
  readonly #open: (epoch: number) => AnyIterable<T>;
  readonly #rank: number;
  readonly #ranks: number;
  readonly #fingerprint: string | null;
  #items: Iterator<T> | AsyncIterator<T> | null = null;
  #epoch = 0;
  #sample = 0;

  constructor(open: (epoch: number) => AnyIterable<T>, { rank = 0, ranks = 1, fingerprint }: IterableOptions) {
    checkRank(rank, ranks);
    this.#open = open;
    this.#rank = rank;
    this.#ranks = ranks;
    this.#fingerprint = fingerprint ?? null;
  }

  /** The epoch of the last batch, until the iterable has been seen to end. */
  get epoch(): number {
    return this.#epoch;
  }

  async next(): Promise<T> {
    this.#items ??= iteratorOf(this.#open(this.#epoch));
    const mine = await this.#take();
    if (mine !== null) {
      this.#sample += this.#ranks;
      return mine.item;
    }
    if (this.#sample === 0) {
      throw new TierraError('E_DATA', `the iterable gave fewer than ${this.#ranks} items in epoch ${this.#epoch}`, {
        hint:
          this.#epoch === 0
            ? 'It is empty, or too short for the number of ranks.'
            : 'It can be gone through only once: give a function that returns a fresh one.',
      });
    }
    this.#epoch++;
    this.#sample = 0;
    this.#items = null;
    return this.next();
  }

  position(): DataPosition {
    return { version: 1, ...this.#identity(), epoch: this.#epoch, sample: this.#sample };
  }

  async restore(position: DataPosition, options?: RestoreOptions): Promise<void> {
    checkPosition(position, this.#identity(), options);
    await this.#items?.return?.();
    this.#items = iteratorOf(this.#open(position.epoch));
    this.#epoch = position.epoch;
    this.#sample = position.sample;
    for (let skipped = 0; skipped < position.sample; skipped++) {
      if (!(await this.#items.next()).done) continue;
      throw new TierraError(
        'E_DATA',
        `data position of epoch ${position.epoch}, sample ${position.sample}: the iterable ended after ${skipped} items`,
        { hint: 'Give the data of the saved run; an iterable that can be used only once must come from a function.' },
      );
    }
  }

  /** This rank's item of the next `ranks`, or null when there are not so many left. */
  async #take(): Promise<{ readonly item: T } | null> {
    let mine: { readonly item: T } | null = null;
    for (let index = 0; index < this.#ranks; index++) {
      const { done, value } = await this.#items!.next();
      if (done) return null;
      if (index === this.#rank) mine = { item: value };
    }
    return mine;
  }

  #identity() {
    return { fingerprint: this.#fingerprint, samples: null, shuffle: false, seed: 0 };
  }
}

function iteratorOf<T>(items: AnyIterable<T>): Iterator<T> | AsyncIterator<T> {
  return Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
}
