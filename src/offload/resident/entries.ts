import { native } from '../../native/load.ts';
import type { Parameter } from '../../nn/index.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
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
    ...(tensor.shape.join() === parameter.shape.join() ? {} : { shape: tensor.shape }),
    bytes: tensor.bytes,
    read: (into, byteOffset) => scope(() => native().readBytes(range(tensor, byteOffset, into.length).handle, into)),
    write: (from, byteOffset) =>
      noGrad(() =>
        scope(() => {
          const target = range(tensor, byteOffset, from.length);
          ops.copyInto(target, adopt(native().fromBytes(from, target.shape, dtypeCode(tensor.dtype))));
        }),
      ),
  };
}

/** A flat view of `bytes` bytes from `byteOffset` on. */
function range(tensor: Tensor, byteOffset: number, bytes: number): Tensor {
  const size = dtypeBytes(tensor.dtype);
  return ops.slice(ops.view(ops.detach(tensor), [-1]), 0, byteOffset / size, (byteOffset + bytes) / size);
}
