/** A rank's schedule as the visits to its units, for stores that plan. */
import type { VisitOrder } from '../../offload/store.ts';
import type { PipelineLayout } from './layout.ts';
import { mostLeaving } from './messages.ts';
import { type ComputeAction, isTransfer } from './schedule/index.ts';

export function visitsOf({ schedule, stages }: PipelineLayout, rank: number): VisitOrder['visits'] {
  return schedule.actions[rank]!.flatMap((action) => (isTransfer(action) ? [] : visitsOfAction(action, stages)));
}

function visitsOfAction(
  { kind, stage, microBatch }: ComputeAction,
  stages: PipelineLayout['stages'],
): VisitOrder['visits'] {
  const { first, end } = stages[stage]!;
  const units = Array.from({ length: end - first }, (_, index) => first + index);
  if (kind === 'forward') return units.map((unit) => ({ pass: 'forward', unit, microBatch, part: 'forward' }));
  const pass = kind === 'backwardInput' ? 'forward' : 'backward';
  return units.reverse().map((unit) => ({ pass, unit, microBatch, part: kind }));
}

/** Most tensors that are received and not yet used, or on their way to other ranks. */
export function mostMessages({ schedule }: PipelineLayout, rank: number): number {
  let waiting = 0;
  let most = 0;
  const peers = new Set<number>();
  const arrived = new Set<string>();
  for (const action of schedule.actions[rank]!) {
    const { stage, microBatch } = action;
    if (isTransfer(action)) {
      peers.add(action.peer);
      if (action.kind === 'send') continue;
      arrived.add(`${action.payload}${action.payload === 'activation' ? stage + 1 : stage - 1}.${microBatch}`);
      most = Math.max(most, ++waiting);
    } else if (action.kind !== 'backwardWeight') {
      const payload = action.kind === 'forward' ? 'activation' : 'gradient';
      if (arrived.delete(`${payload}${stage}.${microBatch}`)) waiting--;
    }
  }
  // One more to each peer is made before the oldest is waited for, and a gradient is made from another.
  return most + peers.size * (mostLeaving + 1) + 2;
}
