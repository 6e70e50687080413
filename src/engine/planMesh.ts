/**
 * The best mesh for a model and so many described GPUs: a search over the formulas of `dist/costs`, whose answer is then planned in
 * full. A candidate whose parts do not fit the planner's finer count gives way to the next.
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

export interface ProposedMesh {
  readonly best: Prediction;
  readonly runnersUp: readonly Prediction[];
  readonly reasons: readonly string[];
  /** Meshes that were looked at. */
  readonly tried: number;
  /** What to put into the configuration. */
  readonly settings: ConfigInput;
  /** Candidates that the formulas liked better, and why the planner refused them. */
  readonly refused: readonly { readonly mesh: Prediction['mesh']; readonly reason: string }[];
  readonly planned: PlannedCluster;
}

/** Throws `E_OUT_OF_MEMORY` when no mesh fits, `E_PLAN` when the planner refuses all that the formulas allow. */
export async function planBestMesh(config: Config, request: PlanRequest, flags: LinkFlags): Promise<ProposedMesh> {
  const { machine, dtype } = machineFor(config, request);
  const { memory, train, data, parallel } = config;
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
  let first: unknown;
  for (const candidate of [proposal.best, ...proposal.runnersUp]) {
    const { mesh } = candidate;
    const settings = settingsOf(mesh, cluster, config);
    const changed: Config = {
      ...config,
      parallel: {
        ...parallel,
        pp: 1,
        tp: 1,
        sp: 1,
        ep: 1,
        zero: 0,
        ...settings.parallel,
        dp: mesh.dp,
      } as Config['parallel'],
      train: { ...train, ...settings.train } as Config['train'],
      memory: { ...memory, ...settings.memory } as Config['memory'],
    };
    try {
      const planned = await planOn(changed, machine, dtype, flags);
      const runnersUp = [proposal.best, ...proposal.runnersUp].filter((one) => one !== candidate);
      const reasons = candidate === proposal.best ? proposal.reasons : proposal.reasonsFor(candidate);
      return { best: candidate, runnersUp, reasons, tried: proposal.tried, settings, refused, planned };
    } catch (error) {
      if (!isTierraError(error, 'E_PLAN')) throw error;
      first ??= error;
      refused.push({ mesh, reason: error.message });
    }
  }
  throw first;
}

/** The sections of a configuration that ask for a mesh, and only what differs from their defaults. */
function settingsOf(mesh: Prediction['mesh'], cluster: Cluster, { memory }: Config): ConfigInput {
  const { dp, pp, tp, sp, ep = 1, zero, recompute, statesOnHost, sequences, microBatches } = mesh;
  const above = Object.entries({ pp, tp, sp, ep }).filter(([, degree]) => degree > 1);
  const sequence = sp > 1 ? { sequence: mesh.sequenceMode ?? ('heads' as const) } : {};
  // What the formulas take: sums once a step where whole gradients are kept anyway, activations of one micro-batch at a time.
  const reduce = microBatches > 1 && zero <= 1 && dp * sp * ep > 1 ? { reduce: 'last' as const } : {};
  const hasTiers = statesOnHost || asksForTiers(memory);
  const accumulation = hasTiers && microBatches > 1 && pp === 1 ? { accumulation: 'horizontal' as const } : {};
  const budgets = statesOnHost
    ? { gpu: cluster.gpuBytes, cpu: memory.cpu === 'auto' ? cluster.hostBytes : memory.cpu }
    : {};
  return {
    parallel: { ...Object.fromEntries(above), ...sequence, ...(zero > 0 ? { zero } : {}), ...reduce },
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
