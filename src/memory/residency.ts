import { wantsGradientSlot } from './placeGpu.ts';
import type { Placement } from './placement.ts';
import { type Lease, type PoolDemand, schedulePool } from './slotPool.ts';
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
export function planResidency(
  model: StepModel,
  placement: Placement,
  options: ResidencyOptions,
): Record<PoolName, Lease[]> {
  const { eviction, steps, slack } = options;
  const perStep = model.trace.moments.length;
  const uses = model.uses.map((use) =>
    Array.from({ length: steps }, (_, step) => use.moments.map((moment) => step * perStep + moment)).flat(),
  );
  const schedule = (pool: PoolName): Lease[] => {
    const demands = poolDemands(model, placement, pool, steps);
    if (placement.pools[pool].count === 0) return [];
    // A fresh cursor for each pool: every policy walks the step once.
    const nextUse = nextUseOf(uses);
    const policy = eviction === 'lru' ? lruPolicy() : beladyPolicy(nextUse);
    const slotCount = placement.pools[pool].count;
    return schedulePool(demands, { slotCount, policy, nextUse, slack: pool === 'normal' ? slack : 0 });
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
  }));
  for (const use of model.uses) {
    if (use.chunk.large !== large) continue;
    const { resident, update } = placement.chunks[use.chunk.id]!;
    const chunk: number = use.chunk.id;
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
