/** Evaluation: forwards alone. Micro-batches pass through the stages in groups of P, as in interleaving. */
import { withTransfers } from './transfers.ts';
import { type ComputeAction, type Placement, type Schedule, stagesOfRank } from './types.ts';

export function forwardOnly(
  shape: {
    readonly name: string;
    readonly ranks: number;
    readonly chunks: number;
    readonly placement: Placement;
  },
  microBatches: number,
): Schedule {
  const { name, ranks, chunks, placement } = shape;
  const order = Array.from({ length: ranks }, (_, rank) => {
    const stages = stagesOfRank(rank, shape);
    const list: ComputeAction[] = [];
    for (let first = 0; first < microBatches; first += ranks) {
      for (const stage of stages) {
        for (let microBatch = first; microBatch < Math.min(microBatches, first + ranks); microBatch++) {
          list.push({ kind: 'forward', stage, microBatch });
        }
      }
    }
    return list;
  });
  const inFlightBound = order.map((list) => list.length);
  return withTransfers({ name, ranks, microBatches, chunks, placement, order, inFlightBound });
}
