/** Time of one step on a mesh, from the formulas. A first model: communication of tensor and sequence groups is not hidden, that of data ranks is behind backward. */
import { type Cluster, linkOf } from './cluster.ts';
import { mixtureVolume } from './experts.ts';
import { tensorVolume } from './layer.ts';
import { others } from './linear.ts';
import { type MemoryPerRank, memoryPerRank } from './memory.ts';
import { layerShape, type ModelShape, parametersOf, stepFlops } from './model.ts';
import { sharedAttentionVolume } from './sharedAttention.ts';

export interface Mesh {
  readonly dp: number;
  readonly pp: number;
  readonly tp: number;
  readonly sp: number;
  /** How sequences are shared where sp is above 1; default heads. */
  readonly sequenceMode?: 'heads' | 'ring';
  /** Ranks that experts are spread over; default 1. */
  readonly ep?: number;
  readonly zero: 0 | 1 | 2 | 3;
  readonly recompute: boolean;
  readonly statesOnHost: boolean;
  /** Sequences of a micro-batch per data-parallel rank, and micro-batches of a step. */
  readonly sequences: number;
  readonly microBatches: number;
}

export interface Work {
  readonly model: ModelShape;
  readonly cluster: Cluster;
  /** Sequences of one optimizer step over all ranks, and their length. */
  readonly batch: number;
  readonly sequence: number;
  /** Ways to share sequences that the search may take; default heads. None: it leaves sp out. */
  readonly sequenceModes?: readonly ('heads' | 'ring')[];
  /** Of weights and activations; default 2. */
  readonly elementBytes?: number;
}

export interface Prediction {
  readonly mesh: Mesh;
  readonly memory: MemoryPerRank;
  readonly stepSeconds: number;
  readonly parts: {
    readonly compute: number;
    readonly bubble: number;
    readonly tensor: number;
    readonly sequence: number;
    readonly experts: number;
    readonly pipeline: number;
    /** What backward does not hide. */
    readonly data: number;
    readonly update: number;
  };
  /** Share of the step in which a rank waits for its neighbours of the pipeline: (P-1) / (m + P-1). */
  readonly bubbleShare: number;
  /** Bytes received per rank and step. */
  readonly bytes: {
    readonly tensor: number;
    readonly sequence: number;
    readonly experts: number;
    readonly pipeline: number;
    readonly data: number;
  };
}

/**
 * Bytes for each parameter over data ranks, as a share of all ranks' parts. Sums are in the state's type: once a step where whole
 * gradients are kept (`reduce: last`), after each micro-batch where only shards are.
 */
function dataBytesEach({ zero, microBatches }: Mesh, bytesEach: number): number {
  const wide = Math.max(4, bytesEach);
  if (zero === 0) return 2 * wide;
  const gathers = zero === 3 ? 2 * microBatches : 1;
  return gathers * bytesEach + (zero === 1 ? 1 : microBatches) * wide;
}

export function predict(mesh: Mesh, work: Work): Prediction {
  const { model, cluster, batch, sequence, elementBytes: bytesEach = 2 } = work;
  const { dp, pp, tp, sp, ep = 1, zero, recompute, statesOnHost, sequences, microBatches } = mesh;
  const memory = memoryPerRank({ model, ...mesh, sequence, elementBytes: bytesEach });
  const layers = model.layers / pp;
  const shape = layerShape(model, (sequences * sequence) / sp);
  const { total, experts } = parametersOf(model);
  const ownExperts = (model.layers * experts) / (pp * tp * ep);
  const own = (total - model.layers * experts) / (pp * tp);

  const compute = stepFlops(model, batch * sequence, sequence, recompute) / (cluster.gpus * cluster.flops);
  const bubbleShare = (pp - 1) / (microBatches + pp - 1);

  const tensorEach = tp === 1 ? 0 : tensorVolume({ kind: '1d', ranks: tp }, shape).perMicroBatch;
  const tensor = tensorEach * layers * microBatches * bytesEach * (recompute ? 1.5 : 1);
  const tensorLink = linkOf(cluster, tp, 1);
  const tensorSeconds =
    tp === 1 ? 0 : tensor / tensorLink.bandwidth + (recompute ? 6 : 4) * layers * microBatches * tensorLink.latency;

  const shared = sequenceOf(mesh, work);
  const sequenceBytes = shared.bytes * layers * microBatches;
  const sequenceLink = linkOf(cluster, sp, tp * ep);
  // Blocks go around while attention computes.
  const beside = mesh.sequenceMode === 'ring' ? attentionSeconds(work) : 0;
  const sequenceSends = shared.messages * layers * microBatches * sequenceLink.latency;
  const sequenceSeconds = Math.max(0, sequenceBytes / sequenceLink.bandwidth + sequenceSends - beside);

  const expertBytes = expertBytesOf(mesh, work);
  const expertLink = linkOf(cluster, ep, tp);
  const expertSeconds =
    ep === 1
      ? 0
      : expertBytes / expertLink.bandwidth + (recompute ? 6 : 4) * layers * microBatches * expertLink.latency;

  const edge = ((sequences * sequence * model.hidden) / sp) * bytesEach;
  const pipeline = pp === 1 ? 0 : 2 * microBatches * edge;
  const pipelineLink = linkOf(cluster, pp, tp * ep * sp);
  // On the critical path lie the edges of the ramp; the others pass behind computation.
  const pipelineSeconds = pp === 1 ? 0 : 2 * (pp - 1) * (edge / pipelineLink.bandwidth + pipelineLink.latency);

  const replicas = dp * sp * ep;
  const dataLink = linkOf(cluster, replicas, tp * (dp === 1 ? 1 : pp));
  const data = (others(replicas) * own + others(dp * sp) * ownExperts) * dataBytesEach(mesh, bytesEach);
  const busy = compute + tensorSeconds + sequenceSeconds + expertSeconds;
  const hidden = busy * (zero === 3 ? 0.9 : 0.6);
  const dataSeconds = Math.max(0, data / dataLink.bandwidth - hidden);

  const updates = zero >= 1 ? own / replicas + ownExperts / (dp * sp) : own + ownExperts;
  const update = statesOnHost ? Math.max(0, updates / cluster.hostUpdates - 0.6 * busy) : 0;

  const bubble = (busy * bubbleShare) / (1 - bubbleShare);
  const stepSeconds = busy + bubble + pipelineSeconds + dataSeconds + update;
  return {
    mesh,
    memory,
    stepSeconds,
    bubbleShare,
    parts: {
      compute,
      bubble,
      tensor: tensorSeconds,
      sequence: sequenceSeconds,
      experts: expertSeconds,
      pipeline: pipelineSeconds,
      data: dataSeconds,
      update,
    },
    bytes: { tensor, sequence: sequenceBytes, experts: expertBytes, pipeline, data },
  };
}

/** Of a layer and micro-batch: received where sequences are shared. */
function sequenceOf(mesh: Mesh, { model, sequence, elementBytes = 2 }: Work): { bytes: number; messages: number } {
  const { sp, tp, sequences, recompute, sequenceMode = 'heads' } = mesh;
  if (sp === 1) return { bytes: 0, messages: 0 };
  const forwards = recompute ? 2 : 1;
  const { forward, backward, wide, forwardMessages, backwardMessages } = sharedAttentionVolume(sequenceMode, sp, {
    rows: (sequences * sequence) / sp,
    heads: model.heads / tp,
    keyValueHeads: model.keyValueHeads / tp,
    headSize: model.hidden / model.heads,
  });
  return {
    bytes: (forwards * forward + backward) * elementBytes + wide * Math.max(4, elementBytes),
    messages: forwards * forwardMessages + backwardMessages,
  };
}

/** Of a step: attention's own products, forward and backward, which the formulas count among all others. */
const attentionSeconds = ({ model, cluster, batch, sequence }: Work): number =>
  (3 * batch * sequence * model.layers * model.hidden * sequence * 2) / (cluster.gpus * cluster.flops);

/** Received in a step on the way to experts and back. */
function expertBytesOf(mesh: Mesh, { model, sequence, elementBytes = 2 }: Work): number {
  const { pp, sp, ep = 1, recompute, sequences, microBatches } = mesh;
  if (model.experts === undefined) return 0;
  const { count, perToken, capacityFactor = 1 } = model.experts;
  const rows = ((sequences * sequence) / sp) * perToken * capacityFactor;
  const isDropless = model.experts.capacityFactor === undefined;
  const { forward, backward } = mixtureVolume(ep, { width: model.hidden, experts: count, rows, isDropless });
  return ((recompute ? 2 : 1) * forward + backward) * elementBytes * (model.layers / pp) * microBatches;
}
