import { parameterBytes as parameterBytesOf } from './chunk.ts';
import { guessingCourse } from './guessed.ts';
import type { Layout } from './layout.ts';
import type { LinkRate, Machine } from './machine.ts';
import { type ChunkPlan, lanes, type Plan, type Ticket } from './plan.ts';
import { stateBytes as stateBytesOf } from './statePlanes.ts';
import type { Trace } from './trace.ts';
import { type PerTier, type Tier, tiers } from './types.ts';

/** What one tier holds, in bytes. */
export interface TierForecast {
  readonly budgetBytes: number;
  /** Arena and everything beside it: never exceeded. */
  readonly peakBytes: number;
  /** Parameters and states at home between steps. */
  readonly parameterBytes: number;
  readonly stateBytes: number;
  /** Second places of speculation and ping-pong extents, gradients at rest, sums. */
  readonly undoBytes: number;
  /** Slots that chunks pass through. */
  readonly passingBytes: number;
  /** Context, activations, reserve. */
  readonly otherBytes: number;
}

/**
 * What the step spends its time on. `link`: PCIe. `norm`: updates that can begin once it is known, and must be over when their unit is
 * due. `waiting`: no resource is busy, dependencies follow each other.
 */
export type Limiter = 'compute' | 'link' | 'host memory' | 'disk' | 'host optimizer' | 'norm' | 'waiting';

/** The answer of `tierra plan`. */
export interface Forecast {
  readonly tiers: PerTier<TierForecast>;
  readonly stepSeconds: number;
  readonly computeSeconds: number;
  readonly limiter: Limiter;
  /**
   * No schedule of these moves is faster, at contended rates: the resource that would be busy longest if nothing waited, or the window
   * of the norm.
   */
  readonly bound: { readonly by: Limiter; readonly seconds: number };
  readonly tokensPerSecond: number;
  /** Bytes written to disk by one step: what wears a drive out. */
  readonly diskWriteBytes: number;
  /** Chunks by where parameter and state live and how they are updated, for example `host/nvme deferred`. */
  readonly placements: Readonly<Record<string, number>>;
}

/** Summarises a plan. `tokensPerStep` counts all micro-batches. */
export function forecastPlan(
  plan: Plan,
  layout: Layout,
  machine: Machine,
  trace: Trace,
  tokensPerStep: number,
): Forecast {
  const placements: Record<string, number> = {};
  for (const { parameterHome, stateHome, update, resident } of plan.chunks) {
    const stays = resident && parameterHome !== 'gpu' ? ' resident' : '';
    const key = `${parameterHome}/${stateHome} ${update}${stays}`;
    placements[key] = (placements[key] ?? 0) + 1;
  }
  const { stepSeconds, computeSeconds, movedBytes } = plan.forecast;
  return {
    tiers: {
      gpu: tierForecast(plan, layout, 'gpu'),
      host: tierForecast(plan, layout, 'host'),
      nvme: tierForecast(plan, layout, 'nvme'),
    },
    stepSeconds,
    computeSeconds,
    limiter: limiterOf(plan, machine),
    bound: boundOf(plan, layout, machine, trace),
    tokensPerSecond: stepSeconds > 0 ? tokensPerStep / stepSeconds : 0,
    diskWriteBytes: movedBytes.write,
    placements,
  };
}

function tierForecast(plan: Plan, layout: Layout, tier: Tier): TierForecast {
  let parameterBytes = 0;
  let stateBytes = 0;
  for (const { chunk, parameterHome, stateHome } of plan.chunks) {
    const shape = layout.chunks[chunk]!;
    if (parameterHome === tier) parameterBytes += parameterBytesOf(shape, plan.types);
    if (stateHome === tier) stateBytes += stateBytesOf(shape, plan.types);
  }
  const passingBytes = plan.slots.reduce(
    (sum, slot) => sum + (slot.tier === tier && /^(pool|staging)/.test(slot.label) ? slot.bytes : 0),
    0,
  );
  const undoBytes = plan.arenaBytes[tier] - parameterBytes - stateBytes - passingBytes;
  const otherBytes = plan.otherBytes[tier];
  const peakBytes = plan.arenaBytes[tier] + otherBytes;
  return {
    budgetBytes: plan.budgets[tier],
    peakBytes,
    parameterBytes,
    stateBytes,
    undoBytes,
    passingBytes,
    otherBytes,
  };
}

/** The resource that is busy most, once waiting for anything costs at least a twentieth of the step. */
function limiterOf({ forecast }: Plan, machine: Machine): Limiter {
  const { stepSeconds, computeSeconds, busySeconds, movedBytes } = forecast;
  if (stepSeconds <= 0 || computeSeconds >= 0.95 * stepSeconds) return 'compute';
  const traffic = lanes.reduce((sum, lane) => sum + movedBytes[lane], 0);
  const busy: readonly (readonly [Limiter, number])[] = [
    ['compute', computeSeconds],
    ['host memory', traffic / machine.hostDramBytes],
    ['host optimizer', busySeconds.update],
    ['link', Math.max(busySeconds.toDevice, busySeconds.toHost)],
    ['disk', Math.max(busySeconds.read, busySeconds.write)],
  ];
  const [limiter, seconds] = busy.reduce((most, next) => (next[1] > most[1] ? next : most));
  return seconds < 0.5 * stepSeconds ? 'waiting' : limiter;
}

function boundOf(plan: Plan, layout: Layout, machine: Machine, trace: Trace): Forecast['bound'] {
  const { computeSeconds, busySeconds, movedBytes } = plan.forecast;
  const traffic = lanes.reduce((sum, lane) => sum + movedBytes[lane], 0);
  const { toDevice, toHost, fromDisk, toDisk, hostDramBytes } = machine;
  const needs: readonly (readonly [Limiter, number])[] = [
    ['compute', computeSeconds],
    ['host memory', traffic / hostDramBytes],
    ['host optimizer', busySeconds.update],
    ['norm', computeSeconds + Math.max(0, afterNormSeconds(plan, layout, machine) - firstForwardSeconds(trace))],
    ['link', bothWaysSeconds(movedBytes.toDevice, toDevice, movedBytes.toHost, toHost)],
    ['disk', bothWaysSeconds(movedBytes.read, fromDisk, movedBytes.write, toDisk)],
  ];
  const [by, seconds] = needs.reduce((most, next) => (next[1] > most[1] ? next : most));
  return { by, seconds };
}

/**
 * Both ways at once for as long as both have something to move, and the rest alone: steps of which forward only reads do that. Or one after
 * the other, should both at once be so bad that this is faster.
 */
function bothWaysSeconds(there: number, thereRate: LinkRate, back: number, backRate: LinkRate): number {
  const both = Math.min(there / thereRate.together, back / backRate.together);
  const thereAlone = (there - both * thereRate.together) / thereRate.alone;
  const backAlone = (back - both * backRate.together) / backRate.alone;
  return Math.min(both + thereAlone + backAlone, there / thereRate.alone + back / backRate.alone);
}

/**
 * What lies between a step's norm and the end of the next forward: updates that waited for it, and the way of all new parameters to the
 * compute device. Host memory carries both.
 */
function afterNormSeconds(
  { chunks, tickets, forecast, types }: Plan,
  layout: Layout,
  { hostDramBytes }: Machine,
): number {
  const elementsOf = (found: readonly ChunkPlan[]): number =>
    found.reduce((sum, { chunk }) => sum + layout.chunks[chunk]!.elements, 0);
  const onHost = chunks.filter(({ update }) => update !== 'none' && update !== 'device');
  if (onHost.length === 0) return 0;
  const waiting = new Set<number>(onHost.filter(({ update }) => update === 'deferred').map(({ chunk }) => chunk));
  const bytesOf = (counts: (ticket: Ticket) => boolean): number =>
    guessingCourse({ tickets, moments: [] })
      .tickets.filter((ticket) => ticket.lane === 'update' && counts(ticket))
      .reduce((sum, { bytes }) => sum + bytes, 0);
  const share = bytesOf(({ chunk, cause }) => cause === 'update' && waiting.has(chunk)) / bytesOf(() => true);
  const fetchedBytes = types.computeBytes * elementsOf(onHost.filter(({ resident }) => !resident));
  const { busySeconds, movedBytes } = forecast;
  return Math.max(share * busySeconds.update, (share * movedBytes.update + fetchedBytes) / hostDramBytes);
}

/** Compute behind which it can be done: every unit is used there. */
function firstForwardSeconds({ moments }: Trace): number {
  return moments.reduce(
    (sum, { pass, microBatch, seconds }) => sum + (pass === 'forward' && microBatch <= 0 ? seconds : 0),
    0,
  );
}

/** Every tier's line for people: budget, peak and what the bytes are. */
export const tierRows = (forecast: Forecast): readonly (readonly [Tier, TierForecast])[] =>
  tiers.map((tier) => [tier, forecast.tiers[tier]] as const);
