/**
 * `tierra plan` for several ranks: what each keeps on its tiers, what it receives, how long a step takes and what holds it up.
 * Each rank's part is planned as a process by itself would be; ranks that differ in no more than dp, sp, ep and tp have equal parts.
 */
import type { Config } from '../config/index.ts';
import { isTierraError, TierraError } from '../core/errors.ts';
import { describeLinks, type LinkFlags, type Links } from '../dist/costs/index.ts';
import { axes, type Degrees, MeshLayout } from '../dist/index.ts';
import type { PipelineLayout } from '../dist/pipeline/index.ts';
import { fits, type Layout, type Plan, planStep } from '../memory/index.ts';
import type { BuiltModel } from '../models/index.ts';
import type { AnyModule } from '../nn/index.ts';
import { stateDtype } from '../offload/resident/entries.ts';
import { type Dtype, dtypeBytes } from '../tensor/index.ts';
import { usesTiers } from './placement.ts';
import {
  checkPlanned,
  machineFor,
  type PlanMachine,
  type PlanRequest,
  type PlanSubject,
  plannedModel,
  plannedUnits,
  subjectOf,
} from './planEstimate.ts';
import { partOf, planPipeline } from './planRank.ts';
import { mixtureOf, sharePlanned } from './planSharing.ts';
import { type PlannedRank, type StepTime, stepTime } from './planStepTime.ts';
import { type PlanSummary, summarizePlan, withOtherWays } from './planSummary.ts';
import { buildCut, tensorDivision } from './planTensor.ts';
import { besideRing, type LayerTraffic, layerTraffic, type Traffic, trafficOf } from './planTraffic.ts';
import { updateScheduleFor } from './updateSchedule.ts';

export interface RankSummary {
  /** Place in the pipeline. */
  readonly pp: number;
  /** Units that it computes: `embedding, blocks.0 to blocks.3`. */
  readonly units: string;
  /** Ranks with such a part. */
  readonly ranks: number;
  readonly summary: PlanSummary;
  /** Of the GPU, among `activations, work`: room for parameters that are gathered, and for whole sums of gradients under `reduce: last`. */
  readonly gatheredBytes: number;
  readonly traffic: readonly Traffic[];
}

export interface ClusterSummary {
  readonly version: 1;
  readonly ranks: number;
  /** `dp 2 x tp 4`. */
  readonly mesh: string;
  readonly degrees: Readonly<Record<string, number>>;
  readonly zero: number;
  readonly schedule: string | null;
  readonly links: Links;
  readonly parts: readonly RankSummary[];
  readonly layer: LayerTraffic | null;
  readonly time: StepTime;
  readonly tokens: number;
  readonly tokensPerSecond: number;
  readonly notes: readonly string[];
}

export interface PlannedCluster {
  readonly summary: ClusterSummary;
  /** By place in the pipeline. */
  readonly plans: readonly Plan[];
  /** The chunks that each plan is about. */
  readonly layouts: readonly Layout[];
}

/** Throws `E_CONFIG` with the equation where degrees do not multiply to the ranks, `E_PLAN` when a rank's part does not fit. */
export async function planCluster(config: Config, request: PlanRequest, flags: LinkFlags): Promise<PlannedCluster> {
  const { machine, dtype } = machineFor(config, request);
  return planOn(config, machine, dtype, flags);
}

export async function planOn(
  config: Config,
  machine: PlanMachine,
  dtype: Dtype,
  flags: LinkFlags,
): Promise<PlannedCluster> {
  const job = await layOutJob(config, machine, dtype, flags.ranks);
  const parts = Array.from({ length: job.layout.degrees.pp }, (_, at) => partAt(job, at));
  const plans: Plan[] = [];
  for (const { subject, at } of parts) {
    try {
      plans.push(planStep(subject.input));
    } catch (error) {
      if (!isTierraError(error, 'E_PLAN')) throw error;
      throw withOtherWays(ofPart(error, job, at), await waysOut(job, flags));
    }
  }
  return {
    plans,
    layouts: parts.map(({ subject }) => subject.map.layout),
    summary: summarize(job, parts, plans, flags),
  };
}

/** What the parts of all ranks are cut from. */
interface Job {
  readonly config: Config;
  readonly machine: PlanMachine;
  readonly dtype: Dtype;
  readonly layout: MeshLayout;
  readonly built: BuiltModel;
  readonly pipeline: PipelineLayout | null;
  /** Whether stores move chunks: as the engine decides it. */
  readonly moves: boolean;
}

async function layOutJob(config: Config, machine: PlanMachine, dtype: Dtype, ranks: number): Promise<Job> {
  const { parallel, train, memory } = config;
  const { dp, pp, tp, sp, ep, replicate, zero } = parallel;
  checkPlanned(config, machine, dtype);
  const degrees: Degrees = { ...(dp === 'auto' ? {} : { dp }), pp, tp, sp, ep };
  const layout = new MeshLayout(ranks, degrees);
  const data = layout.degrees.dp * ep;
  checkDivides('train.batchSize', train.batchSize, ep === 1 ? 'dp' : 'dp x ep', data);
  const { rows } = tensorDivision(parallel);
  checkDivides('train.batchSize', train.batchSize, `dp x parts of parallel.tensor: ${parallel.tensor}`, data * rows);
  if (zero > 0) checkCopies(layout, replicate);
  const built = await plannedModel(config, buildCut(parallel));
  sharePlanned(built, config, layout);
  const units = plannedUnits(built, config);
  const pipeline = planPipeline({ built, units }, config, pp);
  const moves = usesTiers(memory);
  return { config, machine, dtype, layout, built, pipeline, moves };
}

/** Experts have fewer copies than what all ranks have. */
function checkCopies({ degrees: { dp, sp, ep } }: MeshLayout, replicate: number): void {
  const named = (axes: Readonly<Record<string, number>>): string =>
    Object.keys(axes)
      .filter((axis) => axis === 'dp' || axes[axis]! > 1)
      .join(' x ');
  checkDivides(named({ dp, sp, ep }), dp * sp * ep, 'parallel.replicate', replicate);
  if (ep > 1) checkDivides(named({ dp, sp }), dp * sp, 'parallel.replicate', replicate);
}

function checkDivides(name: string, value: number, by: string, divisor: number): void {
  if (value % divisor === 0) return;
  throw new TierraError('E_CONFIG', `${name} ${value} / ${by} ${divisor} is not whole: ranks take equal parts`, {
    hint: `Give a multiple of ${divisor}.`,
  });
}

interface Part {
  readonly at: number;
  readonly subject: PlanSubject;
  readonly gatheredBytes: number;
  readonly units: readonly string[];
  readonly traffic: readonly Traffic[];
  readonly layer: LayerTraffic | null;
  readonly besideRing: number;
}

function partAt(job: Job, at: number): Part {
  const { config, machine, dtype, layout, built, pipeline, moves } = job;
  const { train, parallel } = config;
  const updates = updateScheduleFor(built.model as AnyModule, config, train.steps ?? 1000, dtype);
  const types = { elementBytes: dtypeBytes(dtype), wideBytes: dtypeBytes(stateDtype(dtype)) };
  const units = plannedUnits(built, config);
  const part = partOf({ config, layout, built, units, pipeline, updates, moves, ...types }, at);
  const input = {
    built,
    layout,
    part,
    units,
    pipeline,
    at,
    ...types,
    microBatches: train.accumulate,
    zero: parallel.zero,
    replicate: parallel.replicate,
  };
  return {
    at,
    subject: subjectOf(config, built, machine, dtype, part),
    gatheredBytes: part.takenBytes,
    units: part.units.map(({ name }) => name),
    traffic: trafficOf(input),
    layer: layerTraffic(input),
    besideRing: besideRing(input, machine.computeFlops),
  };
}

function summarize(job: Job, parts: readonly Part[], plans: readonly Plan[], flags: LinkFlags): ClusterSummary {
  const { config, layout, pipeline, moves } = job;
  const { train, data, parallel } = config;
  const links = describeLinks(flags);
  const summaries = parts.map(({ subject }, index) => summarizePlan(subject, plans[index]!));
  const planned = parts.map(
    ({ at, subject, traffic, besideRing }, index): PlannedRank => ({
      at,
      subject,
      traffic,
      besideRing,
      moves,
      zero: parallel.zero,
      plan: plans[index]!,
      limiter: summaries[index]!.limiter,
    }),
  );
  const time = stepTime(planned, layout, links, pipeline, train.accumulate);
  const tokens = train.batchSize * train.accumulate * data.sequenceLength;
  return {
    version: 1,
    ranks: layout.size,
    mesh: layout.describe() + (layout.degrees.tp === 1 || parallel.tensor === '1d' ? '' : ` (${parallel.tensor})`),
    degrees: Object.fromEntries(axes.map((axis) => [axis, layout.degrees[axis]])),
    zero: parallel.zero,
    schedule: pipeline?.schedule.name ?? null,
    links,
    parts: parts.map(({ at, gatheredBytes, units, traffic }, index) => ({
      pp: at,
      units: rangesOf(units),
      ranks: layout.size / layout.degrees.pp,
      summary: summaries[index]!,
      gatheredBytes,
      traffic,
    })),
    layer: parts.find(({ layer }) => layer !== null)?.layer ?? null,
    time,
    tokens,
    tokensPerSecond: tokens / time.stepSeconds,
    notes: [...new Set(summaries.flatMap(({ notes }) => notes)), ...notesOnRouting(job), ...notesOn(links, time)],
  };
}

/** What a plan cannot know of a mixture whose experts take as many rows as come. */
function notesOnRouting({ built, layout }: Job): string[] {
  const mixture = mixtureOf(built);
  if (mixture === null || layout.degrees.ep === 1 || mixture.expert_capacity_factor !== undefined) return [];
  return [
    'Experts are dropless: how many rows reach a rank depends on the router. Bytes, memory and time of experts are those of even routing; leave room for the rank whose experts are chosen most.',
  ];
}

function notesOn(links: Links, time: StepTime): string[] {
  const { dataSeconds, tensorSeconds, sequenceSeconds, expertSeconds, bubbleSeconds } = time;
  const matters = dataSeconds + tensorSeconds + sequenceSeconds + expertSeconds + bubbleSeconds > 0;
  if (!links.isAssumed || !matters) return [];
  return ['Links between GPUs are assumed where no flag gives them: --node-link, --network, --per-node.'];
}

/** `blocks.0 to blocks.3`: names that follow each other, by their first and last. */
function rangesOf(names: readonly string[]): string {
  return names.length <= 2 ? names.join(', ') : `${names[0]} to ${names.at(-1)}`;
}

/** The planner's words about one rank, with which one. */
function ofPart(error: TierraError, { layout }: Job, at: number): TierraError {
  const { pp } = layout.degrees;
  const who = pp === 1 ? 'each rank' : `ranks at place ${at} of the pipeline`;
  return new TierraError('E_PLAN', `${who}: ${error.message}`, {
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    details: { ...error.details, pp: at },
    cause: error,
  });
}

/** Settings that make the same model fit the same ranks with the same budgets. */
async function waysOut({ config, machine, dtype }: Job, { ranks }: LinkFlags): Promise<string[]> {
  const { memory, parallel } = config;
  const recomputed: Config = { ...config, memory: { ...memory, activations: 'recompute' } };
  const works = async (changed: Config): Promise<boolean> => {
    const job = await layOutJob(changed, machine, dtype, ranks);
    return Array.from({ length: job.layout.degrees.pp }, (_, at) => partAt(job, at)).every(({ subject }) =>
      fits(subject.input),
    );
  };
  if (memory.activations === 'keep' && (await works(recomputed))) return ['set memory.activations: recompute'];
  for (let zero = parallel.zero + 1; zero <= 3; zero++) {
    const divided = { ...config, parallel: { ...parallel, zero } };
    if (await works(divided)) return [`set parallel.zero: ${zero}`];
    if (memory.activations !== 'keep') continue;
    const both = { ...recomputed, parallel: { ...parallel, zero } };
    if (await works(both)) return [`set parallel.zero: ${zero} and memory.activations: recompute`];
  }
  return [];
}
