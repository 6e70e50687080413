import { type GpuPools, groupBytes, noSlots, type SlotGroup, type Split, shortfall } from './placement.ts';
import { spread } from './spread.ts';
import type { ChunkUse, StepModel } from './stepModel.ts';

export interface GpuChoice {
  /** Keeps its own slot all step long. */
  readonly resident: readonly boolean[];
  /** Its state is on the GPU too. */
  readonly device: readonly boolean[];
  readonly pools: GpuPools;
  readonly bytes: number;
}

/** GPU bytes of a chunk that lives there whole: parameter, state, and gradients that cannot lie over the parameter. */
export function wholeBytes(use: ChunkUse, accumulates: boolean): number {
  const sums = use.parts === 0 ? 0 : accumulates ? use.parts * use.restingBytes : (use.parts - 1) * use.parameterBytes;
  return use.parameterBytes + use.stateBytes + sums;
}

/** Everything on the GPU, if it fits and may be there. */
export function placeAllOnGpu(model: StepModel, arenaBytes: number): GpuChoice | null {
  if (!model.statesOnGpu && model.uses.some((use) => use.parts > 0)) return null;
  const bytes = model.uses.reduce((sum, use) => sum + wholeBytes(use, model.accumulates), 0);
  if (bytes > arenaBytes) return null;
  const resident = model.uses.map(() => true);
  const device = model.uses.map((use) => use.parts > 0);
  return {
    resident,
    device,
    pools: { normal: noSlots, large: noSlots, normalSums: noSlots, largeSums: noSlots },
    bytes,
  };
}

/**
 * Shares GPU memory out: first the slots without which no moment can run, then whole chunks from the bottom of the model
 * (their states are needed first after the step), then resident parameters evenly spread, then more slots.
 */
export function placeOnGpu(
  model: StepModel,
  arenaBytes: number,
  split: Pick<Split, 'gpuStates' | 'residents'>,
): GpuChoice {
  const count = model.uses.length;
  const resident: boolean[] = Array.from({ length: count }, () => false);
  const device: boolean[] = Array.from({ length: count }, () => false);
  let floor = poolBytes(leastPools(model, resident, device));
  if (floor > arenaBytes) throw shortfall('gpu', 'the largest unit with its gradients', floor, arenaBytes);
  let ownBytes = 0;
  let refusals = 0;
  /** Settles a chunk for good if that, with the slots still needed for the others, stays within `limit`. */
  const settle = (use: ChunkUse, bytes: number, onDevice: boolean, limit: number): void => {
    if (ownBytes + bytes > limit || refusals > maxRefusals) return;
    const { id } = use.chunk;
    resident[id] = true;
    device[id] = onDevice;
    // The least pool only shrinks as chunks settle: count it again only where the old figure refuses.
    if (ownBytes + bytes + floor > limit) floor = poolBytes(leastPools(model, resident, device));
    if (ownBytes + bytes + floor <= limit) {
      ownBytes += bytes;
      return;
    }
    refusals++;
    resident[id] = false;
    device[id] = false;
    floor = poolBytes(leastPools(model, resident, device));
  };
  const statesLimit = floor + split.gpuStates * (arenaBytes - floor);
  if (split.gpuStates > 0 && model.statesOnGpu) {
    for (const use of model.uses) if (use.parts > 0) settle(use, wholeBytes(use, model.accumulates), true, statesLimit);
  }
  const rest = model.uses.filter((use) => !resident[use.chunk.id]);
  refusals = 0;
  const residentsLimit = ownBytes + floor + split.residents * (arenaBytes - ownBytes - floor);
  if (split.residents > 0) {
    const frozenFirst = [...spread(rest.filter((u) => u.parts === 0)), ...spread(rest.filter((u) => u.parts > 0))];
    for (const use of frozenFirst) settle(use, use.parameterBytes, false, residentsLimit);
  }
  const own = model.uses.reduce((sum, use) => {
    if (device[use.chunk.id]) return sum + wholeBytes(use, model.accumulates);
    return sum + (resident[use.chunk.id] ? use.parameterBytes : 0);
  }, 0);
  const { pools, bytes } = poolsFor(model, resident, device, arenaBytes - own);
  return { resident, device, pools, bytes: own + bytes };
}

/** After this many chunks in a row found no room the others are not asked. */
const maxRefusals = 8;

/** The pools beside a given choice, grown into `leftBytes` where that is more than their least. */
export function poolsFor(
  model: StepModel,
  resident: readonly boolean[],
  device: readonly boolean[],
  leftBytes: number,
): { readonly pools: GpuPools; readonly bytes: number } {
  const least = leastPools(model, resident, device);
  const spare = leftBytes - poolBytes(least);
  const pools = spare > 0 ? growPools(model, resident, least, spare) : least;
  return { pools, bytes: poolBytes(pools) };
}

export function poolBytes(pools: GpuPools): number {
  return (
    groupBytes(pools.normal) + groupBytes(pools.large) + groupBytes(pools.normalSums) + groupBytes(pools.largeSums)
  );
}

/** True when this gradient use takes a pool slot of its own (not its parameter's, not one on a chunk updated there). */
export const wantsGradientSlot = (takesOver: boolean, onDevice: boolean): boolean => !takesOver && !onDevice;

/** The slots that the hungriest moments need at once. */
function leastPools(model: StepModel, resident: readonly boolean[], device: readonly boolean[]): GpuPools {
  const demand = model.trace.moments.map(() => ({ normal: 0, large: 0, normalSums: 0, largeSums: 0 }));
  const bytes = { normal: 0, large: 0, normalSums: 0, largeSums: 0 };
  const sums = model.accumulates && model.vertical;
  for (const use of model.uses) {
    const size = use.chunk.large ? 'large' : 'normal';
    if (!resident[use.chunk.id]) {
      bytes[size] = Math.max(bytes[size], use.parameterBytes);
      for (const moment of use.moments) demand[moment]![size]++;
    }
    for (const { moment, takesOver } of use.gradients) {
      if (!wantsGradientSlot(takesOver, device[use.chunk.id]!)) continue;
      const kind = sums ? (`${size}Sums` as const) : size;
      bytes[kind] = Math.max(bytes[kind], use.leavingBytes);
      demand[moment]![kind]++;
    }
  }
  const group = (kind: keyof GpuPools): SlotGroup => ({
    count: demand.reduce((most, moment) => Math.max(most, moment[kind]), 0),
    bytes: bytes[kind],
  });
  return {
    normal: group('normal'),
    large: group('large'),
    normalSums: group('normalSums'),
    largeSums: group('largeSums'),
  };
}

/** Gives what is left to slots: a second set of sums, a slot for each large chunk, and ordinary slots to the end. */
function growPools(model: StepModel, resident: readonly boolean[], least: GpuPools, left: number): GpuPools {
  const pools: Record<keyof GpuPools, SlotGroup> = { ...least };
  const grow = (kind: keyof GpuPools, wanted: number, reserve: number): void => {
    const { count, bytes } = pools[kind];
    if (bytes === 0) return;
    const extra = Math.max(0, Math.min(wanted - count, Math.floor((left - reserve) / bytes)));
    pools[kind] = { count: count + extra, bytes };
    left -= extra * bytes;
  };
  const travelling = model.uses.filter((use) => !resident[use.chunk.id]);
  const normals = travelling.filter((use) => !use.chunk.large).length;
  const larges = travelling.length - normals;
  const breathing = 2 * groupBytes(least.normal);
  grow('normalSums', 2 * least.normalSums.count, breathing);
  grow('largeSums', 2 * least.largeSums.count, breathing);
  grow('large', larges, breathing);
  grow('normal', normals + 2 * least.normal.count, 0);
  grow('large', larges + least.large.count, 0);
  return pools;
}
