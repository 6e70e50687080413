/**
 * One forward, one backward (PipeDream-flush, Narayanan et al. 2021): the bubble of GPipe with at most P - r
 * micro-batches alive on rank r of P.
 */
import type { ComputeAction, ComputeOrder } from './types.ts';

export function oneForwardOneBackward(ranks: number, microBatches: number): ComputeOrder {
  return {
    name: '1f1b',
    ranks,
    microBatches,
    chunks: 1,
    placement: 'loop',
    order: Array.from({ length: ranks }, (_, stage) => rankOrder(stage, ranks, microBatches)),
    inFlightBound: Array.from({ length: ranks }, (_, rank) => Math.min(ranks - rank, microBatches)),
  };
}

function rankOrder(stage: number, ranks: number, microBatches: number): ComputeAction[] {
  const warmUp = Math.min(ranks - stage - 1, microBatches);
  const order: ComputeAction[] = [];
  for (let forward = 0; forward < microBatches + warmUp; forward++) {
    if (forward < microBatches) order.push({ kind: 'forward', stage, microBatch: forward });
    if (forward >= warmUp) order.push({ kind: 'backward', stage, microBatch: forward - warmUp });
  }
  return order;
}
