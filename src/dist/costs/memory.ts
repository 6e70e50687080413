/** Bytes per rank of a training step. */
import { type ModelShape, parametersOf } from './model.ts';

export interface MemoryInput {
  readonly model: ModelShape;
  readonly dp: number;
  readonly pp: number;
  readonly tp: number;
  readonly sp: number;
  /** What data-parallel ranks divide: 1 states, 2 gradients too, 3 parameters too. */
  readonly zero: 0 | 1 | 2 | 3;
  /** Sequences of a micro-batch on one data-parallel rank, and their length. */
  readonly sequences: number;
  readonly sequence: number;
  readonly microBatches: number;
  readonly recompute: boolean;
  /** Optimizer states lie in host memory. */
  readonly statesOnHost: boolean;
  /** Of weights and activations; default 2. */
  readonly elementBytes?: number;
}

export interface MemoryPerRank {
  readonly parameters: number;
  readonly gradients: number;
  /** fp32 masters and two moments: on the GPU, or with `statesOnHost` on the host. */
  readonly states: number;
  readonly activations: number;
  /** On the GPU. */
  readonly total: number;
}

const stateBytesEach = 12;

/**
 * The fullest rank: the first of a 1F1B pipeline, which keeps most micro-batches alive and holds the embedding. Sequence
 * ranks count as data ranks for what zero divides: both hold equal weights. Activations of a layer as in Korthikanti et
 * al. 2022 (34 bytes per token and hidden element in bf16, scores never stored): tensor ranks divide 24 of them;
 * under recomputation 2 stay and one layer is whole at a time.
 */
export function memoryPerRank(input: MemoryInput): MemoryPerRank {
  const { model, dp, pp, tp, sp, zero, microBatches, recompute, statesOnHost, elementBytes: computeBytes = 2 } = input;
  const { layer, ends } = parametersOf(model);
  const layers = Math.ceil(model.layers / pp);
  const own = (layers * layer + (pp === 1 ? ends : model.vocabulary * model.hidden)) / tp;
  const replicas = dp * sp;
  const share = (from: number): number => (zero >= from ? replicas : 1);
  // Under zero 3 the layer at work and the one to come are whole.
  const gathered = zero === 3 && replicas > 1 ? (2 * layer * computeBytes) / tp : 0;
  // Under 1 and 2 whole parameters lie beside the part that is this rank's to update.
  const twice = (zero === 1 || zero === 2) && replicas > 1 ? (own * computeBytes) / replicas : 0;
  const parameters = (own * computeBytes) / share(3) + gathered + twice;
  const gradients = (own * (microBatches > 1 ? 4 : computeBytes)) / share(2);
  const states = (own * stateBytesEach) / share(1);
  const perElement = (input.sequences * input.sequence * model.hidden) / sp;
  const wholeLayer = (perElement * (10 + 24 / tp) * computeBytes) / 2;
  const inFlight = Math.min(pp, microBatches);
  const activations = recompute
    ? inFlight * layers * perElement * computeBytes + wholeLayer
    : inFlight * layers * wholeLayer;
  const total = parameters + gradients + (statesOnHost ? 0 : states) + activations;
  return { parameters, gradients, states, activations, total };
}
