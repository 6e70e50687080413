import { TierraError } from '../core/errors.ts';

/**
 * Where a source of batches stands: plain JSON, kept in checkpoints. It counts samples over all ranks, so it can be
 * restored with another number of ranks or another batch size.
 */
export interface DataPosition {
  readonly version: 1;
  /** Of the data; null when the source cannot know. */
  readonly fingerprint: string | null;
  /** Samples in one epoch, or null when unknown. */
  readonly samples: number | null;
  readonly shuffle: boolean;
  readonly seed: number;
  readonly epoch: number;
  /** Samples of this epoch that have been handed out. */
  readonly sample: number;
}

export interface RestoreOptions {
  /** Go on although the data are not those the position was taken from. */
  readonly acceptOtherData?: boolean;
}

/** What the trainer draws batches from. It never ends: after the last batch of an epoch comes the first of the next. */
export interface DataSource<T> {
  /** Batches in a whole epoch, or null when unknown. */
  readonly batchesPerEpoch: number | null;
  /** The epoch that the next batch belongs to. */
  readonly epoch: number;
  next(): T | Promise<T>;
  position(): DataPosition;
  /** @throws E_DATA when the position belongs to other data, E_ARGUMENT when it is not a position. */
  restore(position: DataPosition, options?: RestoreOptions): void | Promise<void>;
}

/** This process among those that train together; each gets its own part of every batch. */
export interface RankOptions {
  readonly rank?: number;
  readonly ranks?: number;
}

/** What identifies a source's data when a position is restored. */
export type SourceIdentity = Pick<DataPosition, 'fingerprint' | 'samples' | 'shuffle' | 'seed'>;

/** Throws unless `position` is well formed and was taken from the same data in the same order. */
export function checkPosition(position: DataPosition, here: SourceIdentity, options: RestoreOptions = {}): void {
  const whole = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
  if (position?.version !== 1 || !whole(position.epoch) || !whole(position.sample)) {
    throw new TierraError('E_ARGUMENT', `data position: not a position of version 1: ${JSON.stringify(position)}`);
  }
  if (options.acceptOtherData) return;
  const changes: string[] = [];
  if (position.fingerprint !== here.fingerprint) {
    changes.push(`the data are others (fingerprint ${position.fingerprint}, here ${here.fingerprint})`);
  }
  for (const field of ['samples', 'shuffle', 'seed'] as const) {
    if (position[field] !== here[field]) changes.push(`${field} was ${position[field]}, here ${here[field]}`);
  }
  if (changes.length === 0) return;
  throw new TierraError(
    'E_DATA',
    `data position of epoch ${position.epoch}, sample ${position.sample}: ${changes.join('; ')}`,
    {
      hint: 'Give the data and settings of the saved run, or accept other data: it then goes on at the same epoch and sample.',
      details: { position, here },
    },
  );
}
