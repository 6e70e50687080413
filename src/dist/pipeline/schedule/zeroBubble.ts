/**
 * ZB-H1 (Qi et al. 2023): 1F1B whose backward is split. Only the gradient of the input is needed by the stage before;
 * weight gradients of rank r lag r micro-batches behind and fill what would be idle at the end. Every rank holds as many
 * activations as the first one of 1F1B.
 */
import type { ComputeAction, ComputeOrder } from './types.ts';

export function zeroBubbleH1(ranks: number, microBatches: number): ComputeOrder {
  return {
    name: 'zb-h1',
    ranks,
    microBatches,
    chunks: 1,
    placement: 'loop',
    order: Array.from({ length: ranks }, (_, stage) => rankOrder(stage, ranks, microBatches)),
    inFlightBound: Array.from({ length: ranks }, () => Math.min(ranks, microBatches)),
  };
}

function rankOrder(stage: number, ranks: number, microBatches: number): ComputeAction[] {
  const warmUp = Math.min(ranks - stage - 1, microBatches);
  const order: ComputeAction[] = [];
  let weights = 0;
  for (let forward = 0; forward < microBatches + warmUp; forward++) {
    if (forward < microBatches) order.push({ kind: 'forward', stage, microBatch: forward });
    const backward = forward - warmUp;
    if (backward < 0) continue;
    order.push({ kind: 'backwardInput', stage, microBatch: backward });
    if (backward - weights >= stage) order.push({ kind: 'backwardWeight', stage, microBatch: weights++ });
  }
  while (weights < microBatches) order.push({ kind: 'backwardWeight', stage, microBatch: weights++ });
  return order;
}
