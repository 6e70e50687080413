/** Bytes per rank of a training step. */
import { type ModelShape, parametersOf } from './model.ts';

export interface MemoryInput {
  readonly model: ModelShape;
  readonly dp: number;
  readonly pp: number;
  readonly tp: number;
  readonly sp: number;
  /** Ranks that experts are spread over; default 1. */
  readonly ep?: number;
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
 * The fullest rank: the first of a 1F1B pipeline, which keeps most micro-batches alive and holds the embedding. Sequence and
 * expert ranks count as data ranks for what zero divides: they hold equal weights, but for experts. Activations of a layer as in Korthikanti et
 * al. 2022 (34 bytes per token and hidden element in bf16, scores never stored): tensor ranks divide 24 of them;
 * under recomputation 2 stay and one layer is whole at a time.
 */
export function memoryPerRank(input: MemoryInput): MemoryPerRank {
  const { model, dp, pp, tp, sp, ep = 1, zero, microBatches, recompute, statesOnHost } = input;
  const computeBytes = input.elementBytes ?? 2;
  const { layer, experts, ends } = parametersOf(model);
  const layers = Math.ceil(model.layers / pp);
  // Of all ranks with tokens of their own, and of experts, which only those along dp and sp have copies of.
  const common = (layers * (layer - experts) + (pp === 1 ? ends : model.vocabulary * model.hidden)) / tp;
  const expert = (layers * experts) / (tp * ep);
  const copies = { common: dp * sp * ep, expert: dp * sp };
  const divided = (from: number): number =>
    zero >= from ? common / copies.common + expert / copies.expert : common + expert;
  const isShared = copies.common > 1;
  // Under zero 3 the layer at work and the one to come are whole.
  const wholeLayer = (layer - experts + experts / ep) / tp;
  const gathered = zero === 3 && isShared ? 2 * wholeLayer * computeBytes : 0;
  // Under 1 and 2 whole parameters lie beside the part that is this rank's to update.
  const twice = (zero === 1 || zero === 2) && isShared ? divided(1) * computeBytes : 0;
  const parameters = divided(3) * computeBytes + gathered + twice;
  const gradients = divided(2) * (microBatches > 1 ? 4 : computeBytes);
  const states = divided(1) * stateBytesEach;
  const perElement = (input.sequences * input.sequence * model.hidden) / sp;
  // Of a mixture each token's rows: as they leave, arrive, come back and are weighted, and the MLP's 19 of each.
  const { perToken = 0 } = model.experts ?? {};
  const mixture = perToken === 0 ? 0 : perToken * (10 + 19 / tp) - 19 / tp;
  const activationsOfLayer = (perElement * (10 + 24 / tp + mixture) * computeBytes) / 2;
  const inFlight = Math.min(pp, microBatches);
  const activations = recompute
    ? inFlight * layers * perElement * computeBytes + activationsOfLayer
    : inFlight * layers * activationsOfLayer;
  const total = parameters + gradients + (statesOnHost ? 0 : states) + activations;
  return { parameters, gradients, states, activations, total };
}
