/** Time of one step on a mesh, from the formulas. A first model: communication of tensor and sequence groups is not hidden, that of data ranks is behind backward. */
import { type Cluster, linkOf } from './cluster.ts';
import { sequenceVolume, tensorVolume } from './layer.ts';
import { others } from './linear.ts';
import { type MemoryPerRank, memoryPerRank } from './memory.ts';
import { layerShape, type ModelShape, parametersOf, stepFlops } from './model.ts';

export interface Mesh {
  readonly dp: number;
  readonly pp: number;
  readonly tp: number;
  readonly sp: number;
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
  /** Axes that the search leaves out. */
  readonly axes?: { readonly sp?: false };
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
  const { dp, pp, tp, sp, zero, recompute, statesOnHost, sequences, microBatches } = mesh;
  const memory = memoryPerRank({ model, ...mesh, sequence, elementBytes: bytesEach });
  const layers = model.layers / pp;
  const shape = layerShape(model, (sequences * sequence) / sp);
  const { total } = parametersOf(model);
  const own = total / (pp * tp);

  const compute = stepFlops(model, batch * sequence, sequence, recompute) / (cluster.gpus * cluster.flops);
  const bubbleShare = (pp - 1) / (microBatches + pp - 1);

  const tensorEach = tp === 1 ? 0 : tensorVolume({ kind: '1d', ranks: tp }, shape).perMicroBatch;
  const tensor = tensorEach * layers * microBatches * bytesEach * (recompute ? 1.5 : 1);
  const tensorLink = linkOf(cluster, tp, 1);
  const tensorSeconds =
    tp === 1 ? 0 : tensor / tensorLink.bandwidth + (recompute ? 6 : 4) * layers * microBatches * tensorLink.latency;

  const whole = layerShape(model, sequences * sequence);
  const sequenceEach = sp === 1 ? 0 : sequenceVolume({ kind: 'ulysses', ranks: sp }, whole).perMicroBatch / tp;
  const sequenceBytes = sequenceEach * layers * microBatches * bytesEach;
  const sequenceLink = linkOf(cluster, sp, tp);
  const sequenceSeconds =
    sp === 1 ? 0 : sequenceBytes / sequenceLink.bandwidth + 8 * layers * microBatches * sequenceLink.latency;

  const edge = ((sequences * sequence * model.hidden) / sp) * bytesEach;
  const pipeline = pp === 1 ? 0 : 2 * microBatches * edge;
  const pipelineLink = linkOf(cluster, pp, tp * sp);
  // On the critical path lie the edges of the ramp; the others pass behind computation.
  const pipelineSeconds = pp === 1 ? 0 : 2 * (pp - 1) * (edge / pipelineLink.bandwidth + pipelineLink.latency);

  const replicas = dp * sp;
  const dataLink = linkOf(cluster, replicas, tp * (dp === 1 ? 1 : pp));
  const data = others(replicas) * own * dataBytesEach(mesh, bytesEach);
  const busy = compute + tensorSeconds + sequenceSeconds;
  const hidden = busy * (zero === 3 ? 0.9 : 0.6);
  const dataSeconds = Math.max(0, data / dataLink.bandwidth - hidden);

  const updates = own / (zero >= 1 ? replicas : 1);
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
      pipeline: pipelineSeconds,
      data: dataSeconds,
      update,
    },
    bytes: { tensor, sequence: sequenceBytes, pipeline, data },
  };
}
