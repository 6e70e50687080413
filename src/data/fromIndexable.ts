import { check } from '../core/errors.ts';
import type { DataSource } from './dataSource.ts';
import { type OrderOptions, SampleOrder } from './sampleOrder.ts';

/** Data of your own, by index. What an item is, `{ input, label }` for instance, is between it and the training step. */
export interface Indexable<T> {
  readonly length: number;
  get(index: number): T | Promise<T>;
}

export interface IndexableOptions extends Omit<OrderOptions, 'batchSize'> {
  /** Something that changes when the data change; a position is then refused for other data. Default: the length only. */
  readonly fingerprint?: string;
}

export interface CollateOptions<T, B> extends IndexableOptions {
  readonly batchSize: number;
  /** Makes one batch of this rank's items. */
  readonly collate: (items: readonly T[]) => B | Promise<B>;
}

/**
 * Batches from an array or anything indexable, shuffled by seed and epoch, with an exact position.
 * Without `collate` every item is a batch already, and each rank gets one item per step.
 */
export function fromIndexable<T>(data: Indexable<T> | readonly T[], options?: IndexableOptions): DataSource<T>;
export function fromIndexable<T, B>(data: Indexable<T> | readonly T[], options: CollateOptions<T, B>): DataSource<B>;
export function fromIndexable<T, B>(
  data: Indexable<T> | readonly T[],
  options: IndexableOptions | CollateOptions<T, B> = {},
): DataSource<T | B> {
  const get = 'get' in data ? (index: number) => data.get(index) : (index: number) => data[index] as T;
  const collate = 'collate' in options ? options.collate : undefined;
  const batchSize = 'batchSize' in options ? options.batchSize : (options.ranks ?? 1);
  check(collate !== undefined || batchSize === (options.ranks ?? 1), `batch size ${batchSize} without collate`, {
    hint: 'Give collate, the function that makes one batch of several items.',
  });
  const order = new SampleOrder(
    { count: data.length, what: 'items', fingerprint: options.fingerprint ?? null },
    { ...options, batchSize },
  );
  return {
    batchesPerEpoch: order.batchesPerEpoch,
    get epoch() {
      return order.epoch;
    },
    async next() {
      const { indices } = order.next();
      if (collate === undefined) return get(indices[0]!);
      return collate(await Promise.all(indices.map(get)));
    },
    position: () => order.position(),
    restore: (position, restoreOptions) => order.restore(position, restoreOptions),
  };
}
