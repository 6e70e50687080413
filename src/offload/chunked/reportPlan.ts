import {
  type ChunkPlan,
  type Layout,
  type Plan,
  parameterBytes,
  perLane,
  type Slot,
  stateBytes,
  tiers,
} from '../../memory/index.ts';
import type { PlanSummary, RestingBytes } from '../observer.ts';

/** Where a plan keeps what, and how fast it expects to be. */
export function summarizePlan(plan: Plan, layout: Layout): PlanSummary {
  const { stepSeconds, computeSeconds, movedBytes, busySeconds } = plan.forecast;
  const slotOf = (id: number): Slot => plan.slots[id]!;
  const sum = (bytesOn: (chunk: ChunkPlan, tier: Slot['tier']) => number): RestingBytes => {
    const [gpu, host, nvme] = tiers.map((tier) =>
      plan.chunks.reduce((total, chunk) => total + bytesOn(chunk, tier), 0),
    );
    return { gpu: gpu!, host: host!, nvme: nvme! };
  };
  return {
    parameters: sum((chunk, tier) => {
      const home = chunk.resident ? 'gpu' : chunk.parameterHome;
      return home === tier ? parameterBytes(layout.chunks[chunk.chunk]!, plan.types) : 0;
    }),
    states: sum(({ chunk, stateHome }, tier) =>
      stateHome === tier ? stateBytes(layout.chunks[chunk]!, plan.types) : 0,
    ),
    gradients: sum(({ gradients }, tier) =>
      gradients.reduce((total, { slot }) => total + (slotOf(slot).tier === tier ? slotOf(slot).bytes : 0), 0),
    ),
    chunks: plan.chunks.length,
    stepSeconds,
    computeSeconds,
    lanes: perLane((lane) => ({ bytes: movedBytes[lane], busySeconds: busySeconds[lane] })),
    limit: limitOf(plan),
  };
}

/** A step that stands still less than this share of its time is limited by compute. */
const computeBound = 0.1;

/** The link that is busiest where compute has to wait for more than a little. */
function limitOf({ forecast }: Plan): PlanSummary['limit'] {
  const { stepSeconds, computeSeconds, busySeconds } = forecast;
  if (stepSeconds - computeSeconds < computeBound * stepSeconds) return 'compute';
  const disk = Math.max(busySeconds.read, busySeconds.write);
  const link = Math.max(busySeconds.toDevice, busySeconds.toHost);
  const most = Math.max(disk, link, busySeconds.update);
  return most === disk ? 'disk' : most === link ? 'link' : 'optimizer';
}
