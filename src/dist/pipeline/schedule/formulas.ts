/**
 * What the literature says about each schedule, for equal stages and transfers that take no time; the simulator agrees.
 *
 * The bubble is the share of all ranks' time between the first start and the last end of a step in which nothing is
 * computed. f, b and w are the costs of forward, input gradient and weight gradient of all stages of a rank together.
 */
import type { ScheduleCosts } from './costs.ts';
import type { ScheduleName } from './types.ts';

export interface BubbleInput {
  readonly schedule: ScheduleName;
  readonly ranks: number;
  readonly microBatches: number;
  readonly chunks?: number;
  /** Costs of one stage. */
  readonly costs: ScheduleCosts;
}

/**
 * Bubble of a step. GPipe and 1F1B: (P-1) / (m + P-1). Interleaved: (P-1) / (v m + P-1). ZB-H1, with f = b = w and m >= P:
 * idle (P-1)(f + b - w) per rank. Null where no closed form is known (ZBV, other cases of ZB-H1): simulate those.
 */
export function closedFormBubble({ schedule, ranks, microBatches, chunks = 1, costs }: BubbleInput): number | null {
  const ramp = ranks - 1;
  if (schedule === 'gpipe' || schedule === '1f1b') return ramp / (microBatches + ramp);
  if (schedule === 'interleaved') return ramp / (chunks * microBatches + ramp);
  if (schedule === 'zbv') return null;
  const { forward: f, backwardInput: b, backwardWeight: w } = costs;
  if (microBatches < ranks || f !== b || b !== w) return null;
  const idle = ramp * (f + b - w);
  return idle / (microBatches * (f + b + w) + idle);
}
