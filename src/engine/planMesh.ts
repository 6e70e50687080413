/**
 * The best mesh for a model and so many described GPUs: a search over the formulas of `dist/costs`, whose leaders are then planned in
 * full. The plans decide: they count what the formulas leave out, and refuse what does not fit after all.
 */
import type { Config, ConfigInput } from '../config/index.ts';
import { isTierraError } from '../core/errors.ts';
import {
  type Cluster,
  describeLinks,
  type LinkFlags,
  type ModelShape,
  type Prediction,
  proposeMesh,
} from '../dist/costs/index.ts';
import type { BuiltModel, MixtureConfig } from '../models/index.ts';
import { dtypeBytes } from '../tensor/index.ts';
import { asksForTiers } from './placement.ts';
import { type PlannedCluster, planOn } from './planCluster.ts';
import { machineFor, type PlanRequest, plannedModel } from './planEstimate.ts';
import { widthOf } from './planRank.ts';
import { attentionSizes, mixtureOf } from './planSharing.ts';

/** What the formulas say of a mesh, and what its full plan says. */
export interface LeadingMesh extends Prediction {
  readonly plannedSeconds: number;
}

export interface ProposedMesh {
  readonly best: LeadingMesh;
  /** The formulas' other leaders, fastest plan first. */
  readonly runnersUp: readonly LeadingMesh[];
  readonly reasons: readonly string[];
  /** Meshes that were looked at. */
  readonly tried: number;
  /** What to put into the configuration. */
  readonly settings: ConfigInput;
  /** Leaders that the planner refused, and why. */
  readonly refused: readonly { readonly mesh: Prediction['mesh']; readonly reason: string }[];
  readonly planned: PlannedCluster;
}

/** Throws `E_OUT_OF_MEMORY` when no mesh fits, `E_PLAN` when the planner refuses all that the formulas allow. */
export async function planBestMesh(config: Config, request: PlanRequest, flags: LinkFlags): Promise<ProposedMesh> {
  const { machine, dtype } = machineFor(config, request);
  const { memory, train, data } = config;
  const built = await plannedModel(config);
  const links = describeLinks(flags);
  const hostBytes = memory.cpu === 'auto' ? machine.capacityBytes.host / links.gpusPerNode : memory.cpu;
  const cluster: Cluster = {
    ...links,
    gpuBytes: memory.gpu === 'auto' ? machine.capacityBytes.gpu : memory.gpu,
    hostBytes: memory.policy === 'off' ? 0 : hostBytes,
    flops: machine.computeFlops,
    hostUpdates: machine.hostUpdateParameters / links.gpusPerNode,
  };
  const proposal = proposeMesh({
    model: shapeOf(built),
    cluster,
    batch: train.batchSize * train.accumulate,
    sequence: data.sequenceLength,
    sequenceModes: sequenceModesFor(built),
    elementBytes: dtypeBytes(dtype),
  });
  const refused: { readonly mesh: Prediction['mesh']; readonly reason: string }[] = [];
  const leaders: { readonly leader: LeadingMesh; readonly settings: ConfigInput; readonly planned: PlannedCluster }[] =
    [];
  let first: unknown;
  for (const prediction of [proposal.best, ...proposal.runnersUp]) {
    const { mesh } = prediction;
    const settings = settingsOf(mesh, cluster, config);
    try {
      const planned = await planOn(changedBy(settings, mesh.dp, config), machine, dtype, flags);
      leaders.push({ leader: { ...prediction, plannedSeconds: planned.summary.time.stepSeconds }, settings, planned });
    } catch (error) {
      // Some meshes are not there for all settings, such as compressed states.
      if (!isTierraError(error, 'E_PLAN') && !isTierraError(error, 'E_UNSUPPORTED')) throw error;
      first ??= error;
      refused.push({ mesh, reason: error.message });
    }
  }
  leaders.sort((a, b) => a.leader.plannedSeconds - b.leader.plannedSeconds);
  const [fastest, ...others] = leaders;
  if (fastest === undefined) throw first;
  const { leader: best, settings, planned } = fastest;
  const reasons = proposal.reasonsFor(best);
  return {
    best,
    runnersUp: others.map(({ leader }) => leader),
    reasons,
    tried: proposal.tried,
    settings,
    refused,
    planned,
  };
}

/** `config` with nothing of its own mesh left, where `settings` are those of another. */
function changedBy({ parallel, train, memory }: ConfigInput, dp: number, config: Config): Config {
  const alone = { pp: 1, tp: 1, sp: 1, ep: 1, zero: 0 };
  return {
    ...config,
    parallel: { ...config.parallel, ...alone, ...parallel, dp } as Config['parallel'],
    train: { ...config.train, ...train } as Config['train'],
    memory: { ...config.memory, ...memory } as Config['memory'],
  };
}

/** The sections of a configuration that ask for a mesh, and only what differs from their defaults. */
function settingsOf(mesh: Prediction['mesh'], cluster: Cluster, { memory, parallel }: Config): ConfigInput {
  const { dp, pp, tp, sp, ep = 1, zero, recompute, statesOnHost, sequences, microBatches } = mesh;
  const above = Object.entries({ pp, tp, sp, ep }).filter(([, degree]) => degree > 1);
  // The formulas know 1D.
  const tensor = parallel.tensor === '1d' ? {} : { tensor: '1d' as const, depth: null };
  const sequence = sp > 1 ? { sequence: mesh.sequenceMode ?? ('heads' as const) } : {};
  // What the formulas take: sums once a step where whole gradients are kept anyway, activations of one micro-batch at a time.
  const reduce = microBatches > 1 && zero <= 1 && dp * sp * ep > 1 ? { reduce: 'last' as const } : {};
  const hasTiers = statesOnHost || asksForTiers(memory);
  const accumulation =
    hasTiers && recompute && microBatches > 1 && pp === 1 ? { accumulation: 'horizontal' as const } : {};
  const budgets = statesOnHost
    ? { gpu: cluster.gpuBytes, cpu: memory.cpu === 'auto' ? cluster.hostBytes : memory.cpu }
    : {};
  return {
    parallel: { ...Object.fromEntries(above), ...tensor, ...sequence, ...(zero > 0 ? { zero } : {}), ...reduce },
    train: { batchSize: sequences * dp * ep, accumulate: microBatches },
    memory: { activations: recompute ? 'recompute' : 'keep', ...budgets, ...accumulation },
  };
}

/** Which ways to share sequences a run would take: rings know no dropout of weights and no window. */
function sequenceModesFor(built: BuiltModel): ('heads' | 'ring')[] {
  const { dropout, window } = attentionSizes(built);
  return dropout > 0 || window !== null ? ['heads'] : ['heads', 'ring'];
}

/** The sizes that the formulas take. */
export function shapeOf(built: BuiltModel): ModelShape {
  const { model } = built;
  const config = model.config as unknown as Readonly<Record<string, number | boolean | null | undefined>>;
  const hidden = widthOf(built);
  const heads = Number(config.num_attention_heads ?? config.n_head);
  const isGated = config.hidden_size !== undefined;
  const mixture = mixtureOf(built);
  return {
    layers: model.blocks.length,
    hidden,
    heads,
    keyValueHeads: Number(config.num_key_value_heads ?? heads),
    inner: Number(config.intermediate_size ?? config.n_inner ?? 4 * hidden),
    gated: isGated,
    vocabulary: model.vocabularySize,
    tied: config.tie_word_embeddings === true,
    ...(mixture === null ? {} : { experts: expertsOf(mixture) }),
  };
}

function expertsOf(mixture: MixtureConfig): NonNullable<ModelShape['experts']> {
  const { num_local_experts: count, num_experts_per_tok: perToken, expert_capacity_factor: capacityFactor } = mixture;
  return { count, perToken, ...(capacityFactor === undefined ? {} : { capacityFactor }) };
}
