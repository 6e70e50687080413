/**
 * How long a step of several ranks takes: each rank's computing and waiting from its own plan, the pipeline on its virtual
 * clock, the groups' bytes over the links. What units send is never hidden (sums over tensor groups, heads, rows to experts), but for
 * blocks that go around a ring while attention computes; edges of stages are not either. What data ranks move is, as far as stores
 * issue it ahead of the unit that needs it.
 */
import { type Links, linkOf } from '../dist/costs/index.ts';
import type { Axis, MeshLayout } from '../dist/index.ts';
import { type PipelineLayout, simulate } from '../dist/pipeline/index.ts';
import type { Limiter, Plan } from '../memory/index.ts';
import type { PlanSubject } from './planEstimate.ts';
import type { Traffic } from './planTraffic.ts';

/** One place in the pipeline, and everything known of the ranks there. */
export interface PlannedRank {
  readonly at: number;
  readonly subject: PlanSubject;
  readonly plan: Plan;
  readonly limiter: Limiter;
  readonly traffic: readonly Traffic[];
  /** Seconds of a step in which attention computes while blocks of keys and values come by. */
  readonly besideRing: number;
  /** Whether its store moves chunks: then gradients are waited for at each unit. */
  readonly moves: boolean;
  readonly zero: number;
}

export interface StepTime {
  readonly stepSeconds: number;
  /** Of the slowest rank. */
  readonly computeSeconds: number;
  readonly tensorSeconds: number;
  /** What sequences that are shared, and experts elsewhere, keep computing waiting. */
  readonly sequenceSeconds: number;
  readonly expertSeconds: number;
  /** What ranks of a pipeline wait for each other, edges included. */
  readonly bubbleSeconds: number;
  /** Share of all ranks' time in which nothing is computed. */
  readonly bubbleShare: number;
  /** What data ranks move and computing does not hide. */
  readonly dataSeconds: number;
  /** What tiers and the update keep computing waiting. */
  readonly tierSeconds: number;
  readonly limiter: Limiter | 'the pipeline' | 'links inside a node' | 'the network between nodes';
}

interface StageSeconds {
  forward: number;
  backward: number;
}

export function stepTime(
  ranks: readonly PlannedRank[],
  layout: MeshLayout,
  links: Links,
  pipeline: PipelineLayout | null,
  microBatches: number,
): StepTime {
  const tensorOf = ({ traffic }: PlannedRank): number => secondsOf(traffic.filter(isTensor), layout, links);
  const sequenceOf = ({ traffic, besideRing }: PlannedRank): number =>
    Math.max(0, secondsOf(traffic.filter(isSequence), layout, links) - besideRing);
  const expertOf = ({ traffic }: PlannedRank): number => secondsOf(traffic.filter(isExpert), layout, links);
  const insideOf = (rank: PlannedRank): number => tensorOf(rank) + sequenceOf(rank) + expertOf(rank);
  const most = (of: (rank: PlannedRank) => number): number => Math.max(...ranks.map(of));
  const computeSeconds = most(({ plan }) => plan.forecast.computeSeconds);
  const [tensorSeconds, sequenceSeconds, expertSeconds] = [most(tensorOf), most(sequenceOf), most(expertOf)];
  const busy = most((rank) => rank.plan.forecast.computeSeconds + insideOf(rank));
  const tierSeconds = most(({ plan }) => plan.forecast.stepSeconds - plan.forecast.computeSeconds);
  const dataSeconds = most((rank) => exposedData(rank, layout, links));
  const run = pipeline === null ? null : onClock(ranks, layout, links, pipeline, microBatches, insideOf);
  const bubbleSeconds = run === null ? 0 : run.makespan - busy;
  const stepSeconds = busy + bubbleSeconds + tierSeconds + dataSeconds;
  const slowest = ranks.reduce((a, b) => (b.plan.forecast.stepSeconds > a.plan.forecast.stepSeconds ? b : a));
  const linkFor = (...along: Axis[]): StepTime['limiter'] =>
    spanOf(along, layout) <= links.gpusPerNode ? 'links inside a node' : 'the network between nodes';
  const parts: [number, StepTime['limiter']][] = [
    [computeSeconds, 'compute'],
    [tierSeconds, slowest.limiter],
    [tensorSeconds, linkFor('tp')],
    [sequenceSeconds, linkFor('sp')],
    [expertSeconds, linkFor('ep')],
    [dataSeconds, linkFor('dp', 'sp', 'ep')],
    [bubbleSeconds, 'the pipeline'],
  ];
  const [, limiter] = parts.reduce((a, b) => (b[0] > a[0] ? b : a));
  return {
    stepSeconds,
    computeSeconds,
    tensorSeconds,
    sequenceSeconds,
    expertSeconds,
    bubbleSeconds,
    dataSeconds,
    tierSeconds,
    limiter,
    bubbleShare: run?.bubble ?? 0,
  };
}

const isTensor = ({ what }: Traffic): boolean => what === 'activations' || what === 'blocks';
const isSequence = ({ what }: Traffic): boolean =>
  what === 'keys and values' || what === 'gradients of keys and values' || what === 'heads' || what === 'loss';
const isExpert = ({ what }: Traffic): boolean => what === 'rows' || what === 'row counts' || what === 'loads';

/** From the first rank of a group along these axes to the last, in ranks. */
const spanOf = (along: readonly Axis[], layout: MeshLayout): number =>
  1 + along.reduce((sum, axis) => sum + (layout.degrees[axis] - 1) * layout.stride(axis), 0);

function secondsOf(traffic: readonly Traffic[], layout: MeshLayout, links: Links): number {
  return traffic.reduce((sum, { along, bytes, messages }) => {
    const { bandwidth, latency } = linkOf(links, spanOf(along, layout), 1);
    return sum + bytes / bandwidth + messages * latency;
  }, 0);
}

/**
 * Whole gradients are waited for, and so are parts of them where a store moves chunks. All else travels while the unit
 * before, or after, computes.
 */
function exposedData({ plan, traffic, moves, zero }: PlannedRank, layout: MeshLayout, links: Links): number {
  const seconds = (...kinds: Traffic['what'][]): number =>
    secondsOf(
      traffic.filter(({ what }) => kinds.includes(what)),
      layout,
      links,
    );
  const { computeSeconds } = plan.forecast;
  const gather = seconds('parameters', 'expert parameters');
  const reduce = seconds('gradients', 'expert gradients');
  const always = seconds('shard norms', 'expert norms', 'tied gradients');
  if (zero === 0) return reduce + always;
  if (moves) return Math.max(0, gather - computeSeconds) + reduce + always;
  return Math.max(0, gather + reduce - computeSeconds) + always;
}

function onClock(
  ranks: readonly PlannedRank[],
  layout: MeshLayout,
  links: Links,
  pipeline: PipelineLayout,
  microBatches: number,
  insideOf: (rank: PlannedRank) => number,
): { readonly makespan: number; readonly bubble: number } {
  const { schedule } = pipeline;
  const stages = Array.from({ length: schedule.stages }, (): StageSeconds => ({ forward: 0, backward: 0 }));
  for (const rank of ranks) {
    const { moments } = rank.subject.input.trace;
    const own = pipeline.stagesOf[rank.at]!;
    for (const { pass, unit, seconds } of moments) {
      const of = rank.subject.map.units[unit];
      if (of === undefined || (pass !== 'forward' && pass !== 'backward')) continue;
      stages[pipeline.stageOfUnit[of.index]!]![pass] += seconds / microBatches;
    }
    const inside = insideOf(rank) / microBatches / own.length;
    for (const stage of own) {
      stages[stage]!.forward += inside / 2;
      stages[stage]!.backward += inside / 2;
    }
  }
  const mean = (pick: (stage: StageSeconds) => number): number =>
    stages.reduce((sum, stage) => sum + pick(stage), 0) / stages.length;
  const [forward, backward] = [mean((stage) => stage.forward), mean((stage) => stage.backward)];
  const edges = ranks.flatMap(({ traffic }) => traffic.filter(({ what }) => what === 'stage edges'));
  const { bandwidth, latency } = linkOf(links, layout.degrees.pp, layout.stride('pp'));
  const messages = edges.reduce((sum, edge) => sum + edge.messages, 0);
  const transfer =
    messages === 0 ? 0 : edges.reduce((sum, { bytes }) => sum + bytes, 0) / messages / bandwidth + latency;
  return simulate(schedule, {
    forward,
    backwardInput: backward / 2,
    backwardWeight: backward / 2,
    transfer,
    stageWeights: stages.map((stage) => (stage.forward + stage.backward) / (forward + backward)),
  });
}
