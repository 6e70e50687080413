import { wantsGradientSlot } from './placeGpu.ts';
import type { Placement } from './placement.ts';
import { type PoolDemand, type PoolOptions, type PoolSchedule, scheduleCyclicPool, schedulePool } from './slotPool.ts';
import type { StepModel } from './stepModel.ts';
import { beladyPolicy, lruPolicy, nextUseOf } from './victims.ts';

export type PoolName = keyof Placement['pools'];
export const poolNames: readonly PoolName[] = ['normal', 'large', 'normalSums', 'largeSums'];

export type Eviction = 'belady' | 'lru';

export interface ResidencyOptions {
  readonly eviction: Eviction;
  /** Steps in a row; chunks stay across steps only when there are several. */
  readonly steps: number;
  readonly slack: number;
}

/** Who stays in which pool slot when, over all steps. */
export type Residency = Record<PoolName, PoolSchedule>;

/** One step (`steps` 1) is taken to repeat: what it leaves in the pool is there when it begins. */
export function planResidency(model: StepModel, placement: Placement, options: ResidencyOptions): Residency {
  const { eviction, steps, slack } = options;
  const perStep = model.trace.moments.length;
  const uses = model.uses.map((use) => {
    const all = Array.from({ length: steps }, (_, step) => use.moments.map((moment) => step * perStep + moment)).flat();
    // What no step changes is needed again after the last one: it does not leave by itself at the end.
    const staysOver = use.parts === 0 && use.moments.length > 0;
    return staysOver ? [...all, steps * perStep + use.moments[0]!] : all;
  });
  const schedule = (pool: PoolName): PoolSchedule => {
    const slotCount = placement.pools[pool].count;
    if (slotCount === 0) return { leases: [], exit: new Map() };
    const demands = poolDemands(model, placement, pool, steps);
    // A fresh cursor for each walk: lookups never go back in time.
    const poolOptions = (): PoolOptions => {
      const nextUse = nextUseOf(uses);
      const policy =
        eviction === 'lru'
          ? lruPolicy(model.uses.length)
          : beladyPolicy(nextUse, (chunk) => model.uses[chunk]!.parameterBytes);
      return { slotCount, policy, nextUse, slack: pool === 'normal' ? slack : 0 };
    };
    return steps === 1 ? scheduleCyclicPool(demands, poolOptions) : schedulePool(demands, poolOptions());
  };
  return {
    normal: schedule('normal'),
    large: schedule('large'),
    normalSums: schedule('normalSums'),
    largeSums: schedule('largeSums'),
  };
}

function poolDemands(model: StepModel, placement: Placement, pool: PoolName, steps: number): PoolDemand[] {
  const sums = pool === 'normalSums' || pool === 'largeSums';
  const large = pool === 'large' || pool === 'largeSums';
  const sumOnGpu = model.accumulates && model.vertical;
  const step = model.trace.moments.map(() => ({
    need: [] as number[],
    gradients: [] as PoolDemand['gradients'][number][],
    takeovers: [] as number[],
    expires: [] as number[],
  }));
  for (const use of model.uses) {
    if (use.chunk.large !== large) continue;
    const { resident, update } = placement.chunks[use.chunk.id]!;
    const chunk: number = use.chunk.id;
    const last = use.gradients.at(-1);
    if (!resident && !sums && last !== undefined && !last.takesOver) step[last.moment]!.expires.push(chunk);
    if (!resident && !sums) for (const moment of use.moments) step[moment]!.need.push(chunk);
    for (const { moment, part, microBatch, takesOver } of use.gradients) {
      if (wantsGradientSlot(takesOver, update === 'device')) {
        if (sums === sumOnGpu) step[moment]!.gradients.push({ chunk, part, microBatch });
      } else if (takesOver && !resident && !sums) {
        step[moment]!.takeovers.push(chunk);
      }
    }
  }
  return Array.from({ length: steps }, () => step).flat();
}
