/** Element types of what a store keeps, as the planner counts them and as tensors have them. */
import type { ElementBytes, PlaneKind, StateFormat } from '../memory/index.ts';
import { type Dtype, dtypeBytes } from '../tensor/index.ts';
import { stateDtype } from './resident/entries.ts';

/** What the planner knows of a run's element types. */
export function elementTypes(dtype: Dtype, states: StateFormat): ElementBytes {
  const computeBytes = dtypeBytes(dtype) as ElementBytes['computeBytes'];
  const stateBytes = dtypeBytes(stateDtype(dtype)) as ElementBytes['stateBytes'];
  return states === 'exact' ? { computeBytes, stateBytes } : { computeBytes, stateBytes, states };
}

/** Whether `device` has an optimizer for states of this format: that of compressed ones is for the CPU. */
export const updatesOnDevice = (device: string, states: StateFormat): boolean => device === 'cpu' || states === 'exact';

/** The element type of a plane of states, in training with `dtype`. */
export function planeDtype(kind: PlaneKind, dtype: Dtype): Dtype {
  switch (kind) {
    case 'weight':
      return dtype;
    case 'correction':
      return 'int16';
    case 'moment1Codes':
    case 'moment2Codes':
      return 'uint8';
    case 'moment1Scales':
    case 'moment2Scales':
      return 'float32';
    default:
      return stateDtype(dtype);
  }
}
