/** Whether everything fits where it is computed, asked before the first allocation. */
import { isTierraError, TierraError } from '../core/errors.ts';
import { formatBytes, formatCount } from '../core/units.ts';
import { native } from '../native/load.ts';
import type { AnyModule } from '../nn/index.ts';
import { cudaIndex } from '../offload/device.ts';
import { compressedStateBytes } from '../offload/resident/compressedStates.ts';
import type { ParameterStore } from '../offload/store.ts';
import { type Dtype, dtypeBytes } from '../tensor/index.ts';
import type { Context } from './launch.ts';

/** Bytes that a model takes with everything resident, activations not counted. */
export interface ResidentNeed {
  readonly weights: number;
  readonly gradients: number;
  /** Masters in fp32 where the weights are narrower, and the optimizer's moments. */
  readonly states: number;
  readonly total: number;
}

export function residentNeed(
  model: AnyModule,
  dtype: Dtype,
  moments: number,
  forTraining: boolean,
  compressed = false,
): ResidentNeed {
  const parameters = model.parameters();
  const trained = forTraining ? parameters.filter(({ trainable }) => trainable) : [];
  const elements = (of: typeof parameters): number => of.reduce((sum, parameter) => sum + parameter.elements, 0);
  const width = dtypeBytes(dtype);
  const wide = Math.max(4, width);
  const weights = elements(parameters) * width;
  const gradients = elements(trained) * width;
  const perElement = compressed ? compressedStateBytes(dtype) : wide * (moments + (width < wide ? 1 : 0));
  const states = Math.ceil(elements(trained) * perElement);
  return { weights, gradients, states, total: weights + gradients + states };
}

/**
 * Runs `create`, which places all of `model`. Throws `E_OUT_OF_MEMORY` with the need, what there is and what to change:
 * before anything is allocated when the machine cannot hold it, afterwards (and cleared up) when a cap refuses.
 */
export function placeResident(
  model: AnyModule,
  context: Context,
  moments: number,
  forTraining: boolean,
  create: () => ParameterStore,
): ParameterStore {
  const { dtype, config } = context;
  const need = residentNeed(model, dtype, moments, forTraining, config.optimizer.states === 'compressed');
  const have = availableBytes(context.device);
  if (need.total > have) throw doesNotFit(model, context, need, `${formatBytes(have)} are free`, { have });
  try {
    return create();
  } catch (error) {
    for (const parameter of model.parameters()) parameter.unplace();
    if (!isTierraError(error, 'E_OUT_OF_MEMORY')) throw error;
    throw doesNotFit(model, context, need, error.message, error.details, error);
  }
}

function availableBytes(device: string): number {
  if (device === 'cpu') return process.availableMemory();
  return native().deviceInfo(cudaIndex(device)).freeBytes;
}

function doesNotFit(
  model: AnyModule,
  { device, dtype }: Context,
  need: ResidentNeed,
  have: string,
  details: Readonly<Record<string, unknown>>,
  cause?: unknown,
): TierraError {
  const { weights, gradients, states, total } = need;
  const parts = [
    `${formatBytes(weights)} of weights`,
    ...(gradients > 0 ? [`${formatBytes(gradients)} of gradients`] : []),
    ...(states > 0 ? [`${formatBytes(states)} of optimizer state`] : []),
  ];
  const what = `${formatCount(model.parameterCount)} parameters in ${dtype} on ${device}`;
  return new TierraError(
    'E_OUT_OF_MEMORY',
    `${what} need ${formatBytes(total)} before activations (${parts.join(', ')}); ${have}`,
    {
      hint: 'Take a smaller model, give memory.nvme.path so that part of it can live on disk, or use an optimizer with less state (lion, sgd).',
      details: { ...details, weights, gradients, states, need: total },
      ...(cause === undefined ? {} : { cause }),
    },
  );
}
