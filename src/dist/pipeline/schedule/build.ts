import { TierraError } from '../../../core/errors.ts';
import { checkSchedule } from './check.ts';
import type { ScheduleCosts } from './costs.ts';
import { gpipe } from './gpipe.ts';
import { interleaved } from './interleaved.ts';
import { oneForwardOneBackward } from './oneForwardOneBackward.ts';
import { withTransfers } from './transfers.ts';
import type { ComputeOrder, Schedule, ScheduleMaker, ScheduleName } from './types.ts';
import { zeroBubbleV } from './vShape.ts';
import { zeroBubbleH1 } from './zeroBubble.ts';

export interface ScheduleSettings {
  readonly schedule: ScheduleName | ScheduleMaker;
  /** Ranks of the pipeline: P. */
  readonly ranks: number;
  /** Micro-batches of a step: m. */
  readonly microBatches: number;
  /** Stages per rank: v. `interleaved` takes any number from 2, default 2; `zbv` has 2, the others 1. */
  readonly chunks?: number;
  /** For `zbv`, which looks for an order; default all 1. */
  readonly costs?: ScheduleCosts;
  /** For `zbv`: most activations alive on a rank, counted per stage and micro-batch. */
  readonly inFlight?: number;
}

/** How many stages a rank holds under `schedule`. Throws `E_CONFIG` for a number it cannot have. */
export function chunksOf(schedule: ScheduleName, chunks?: number): number {
  const fixed = schedule === 'interleaved' ? null : schedule === 'zbv' ? 2 : 1;
  if (fixed === null && (chunks ?? 2) >= 2) return chunks ?? 2;
  if (fixed !== null && (chunks ?? fixed) === fixed) return fixed;
  const wanted = fixed === null ? 'at least 2 stages' : fixed === 1 ? 'one stage' : 'two stages';
  throw new TierraError('E_CONFIG', `parallel.pipeline.chunks: ${schedule} has ${wanted} per rank, not ${chunks}`, {
    hint:
      fixed === null
        ? 'Set it to 2 or more, or the schedule to 1f1b.'
        : 'Leave it out, or set the schedule to interleaved.',
  });
}

/**
 * The whole schedule of a step, checked. Throws `E_CONFIG` where the numbers do not go together, with the equation,
 * `E_PLAN` for a schedule that would not run.
 */
export function buildSchedule(settings: ScheduleSettings): Schedule {
  const { ranks, microBatches } = settings;
  for (const [name, value] of Object.entries({ 'parallel.pp': ranks, 'train.accumulate': microBatches })) {
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw new TierraError('E_CONFIG', `pipeline: ${name} must be a whole number from 1, got ${value}`);
  }
  const schedule = withTransfers(generate(settings));
  checkSchedule(schedule);
  return schedule;
}

function generate(settings: ScheduleSettings): ComputeOrder {
  const { schedule, ranks, microBatches, costs, inFlight } = settings;
  if (typeof schedule === 'function') return made(schedule(ranks, microBatches), settings);
  const chunks = chunksOf(schedule, settings.chunks);
  if (schedule === 'gpipe') return gpipe(ranks, microBatches);
  if (schedule === '1f1b') return oneForwardOneBackward(ranks, microBatches);
  if (schedule === 'interleaved') return interleaved(ranks, microBatches, chunks);
  if (schedule === 'zb-h1') return zeroBubbleH1(ranks, microBatches);
  return zeroBubbleV(ranks, microBatches, {
    ...(costs === undefined ? {} : { costs }),
    ...(inFlight === undefined ? {} : { inFlight }),
  });
}

/** One that would be checked against other numbers than it runs with is not checked at all. */
function made(order: ComputeOrder, { ranks, microBatches }: ScheduleSettings): ComputeOrder {
  const lists = order.order.length;
  if (order.ranks === ranks && order.microBatches === microBatches && lists === ranks) return order;
  throw new TierraError(
    'E_PLAN',
    `the schedule ${order.name} is for ${order.ranks} ranks and ${order.microBatches} micro-batches with ${lists} lists, asked for were ${ranks} ranks and ${microBatches} micro-batches`,
    { hint: 'Return one list of actions for every rank.' },
  );
}
