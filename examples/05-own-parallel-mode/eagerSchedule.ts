/**
 * A pipeline schedule of one's own: 1F1B with more micro-batches on their way, so that a late message stops nobody (as in Zhuang et al. 2023).
 * Rank r of P keeps up to 2 (P - r) - 1 micro-batches alive instead of P - r; the bubble is that of 1F1B.
 *
 * It says the order of work on each rank and what that may keep alive. Transfers are added, and all of it is checked, before anything runs.
 */
import type { pipeline } from '../../src/index.ts';

export const eager: pipeline.ScheduleMaker = (ranks, microBatches) => {
  const all = Array.from({ length: ranks }, (_, rank) => rank);
  const warmUp = (rank: number): number => Math.min(2 * (ranks - rank - 1), microBatches);
  const order = (stage: number): pipeline.ComputeAction[] => {
    const actions: pipeline.ComputeAction[] = [];
    for (let at = 0; at < microBatches + warmUp(stage); at++) {
      if (at < microBatches) actions.push({ kind: 'forward', stage, microBatch: at });
      if (at >= warmUp(stage)) actions.push({ kind: 'backward', stage, microBatch: at - warmUp(stage) });
    }
    return actions;
  };
  return {
    name: 'eager 1f1b',
    ranks,
    microBatches,
    chunks: 1,
    placement: 'loop',
    order: all.map(order),
    inFlightBound: all.map((rank) => Math.min(warmUp(rank) + 1, microBatches)),
  };
};
