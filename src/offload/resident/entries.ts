import { native } from '../../native/load.ts';
import type { Parameter } from '../../nn/index.ts';
import { adopt, type Dtype, dtypeCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { StateEntry, StateKind } from '../store.ts';

/** Masters and moments are fp32, fp64 for fp64 training. */
export function stateDtype(dtype: Dtype): Dtype {
  return dtype === 'float64' ? 'float64' : 'float32';
}

/** A checkpoint entry over a tensor that is there. */
export function tensorEntry(parameter: Parameter, kind: StateKind, tensor: Tensor): StateEntry {
  return {
    parameter,
    kind,
    dtype: tensor.dtype,
    bytes: tensor.bytes,
    read: (into) => native().readBytes(tensor.handle, into),
    write: (from) =>
      noGrad(() =>
        scope(() =>
          ops.copyInto(ops.detach(tensor), adopt(native().fromBytes(from, tensor.shape, dtypeCode(tensor.dtype)))),
        ),
      ),
  };
}
