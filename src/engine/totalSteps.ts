import type { Config } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';

/** Optimizer steps of the whole run: `train.steps`, or `train.epochs` passes over data of a known length. */
export function totalStepsOf({ train }: Config, batchesPerEpoch: number | null): number {
  if (train.steps !== null) return train.steps;
  const epochs = train.epochs ?? 1;
  if (batchesPerEpoch === null) {
    throw new TierraError('E_CONFIG', `train.epochs: ${epochs} passes over data of unknown length`, {
      hint: 'Give train.steps: the learning-rate schedule must know where it ends.',
    });
  }
  return Math.max(1, Math.floor((epochs * batchesPerEpoch) / train.accumulate));
}
