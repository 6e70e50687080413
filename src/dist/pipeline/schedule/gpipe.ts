/**
 * All forwards, then all backwards (GPipe, Huang et al. 2019). Backwards run with ascending micro-batches, so that
 * gradients are summed in the same order as without a pipeline.
 */
import type { ComputeAction, ComputeOrder } from './types.ts';

export function gpipe(ranks: number, microBatches: number): ComputeOrder {
  const all = Array.from({ length: microBatches }, (_, microBatch) => microBatch);
  return {
    name: 'gpipe',
    ranks,
    microBatches,
    chunks: 1,
    placement: 'loop',
    order: Array.from({ length: ranks }, (_, stage): ComputeAction[] => [
      ...all.map((microBatch) => ({ kind: 'forward' as const, stage, microBatch })),
      ...all.map((microBatch) => ({ kind: 'backward' as const, stage, microBatch })),
    ]),
    inFlightBound: Array.from({ length: ranks }, () => microBatches),
  };
}
