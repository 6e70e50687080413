/** A CUDA device for the tests of this folder, and bytes to and from it. */
import type { TensorHandle } from '../../src/native/binding.ts';
import { native, nativeIsBuilt } from '../../src/native/load.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, ops, type Tensor } from '../../src/tensor/index.ts';

/** The device, or why there is none. */
export const device: string | { readonly reason: string } = !nativeIsBuilt()
  ? { reason: 'the addon is not built' }
  : native().deviceCount() > 0
    ? 'cuda:0'
    : { reason: 'no CUDA device that this build can use' };

/** A one-dimensional tensor on the device, whose first element lies `offset` elements past an aligned address. */
export function onDevice(bytes: Uint8Array, dtype: Dtype, offset = 0): Tensor {
  const size = dtypeBytes(dtype);
  const padded = new Uint8Array(bytes.length + offset * size);
  padded.set(bytes, offset * size);
  const count = padded.length / size;
  const all = ops.to(adopt(native().fromBytes(padded, [count], dtypeCode(dtype))), { device: device as string });
  return offset === 0 ? all : ops.slice(all, 0, offset, count);
}

/** The tensor's bytes; waits for the device. */
export function bytesOn(tensor: { readonly handle: TensorHandle }, byteCount: number): Uint8Array {
  const into = new Uint8Array(byteCount);
  native().readBytes(tensor.handle, into);
  return into;
}

export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
