/** Short ways to drive the bare contract; everything above the addon is tested elsewhere. */
import { isTierraError, type TierraError } from '../../src/core/errors.ts';
import type { Boxed, DtypeCode, TensorHandle, Unboxed } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';

export const dtype = {
  uint8: 0,
  int8: 1,
  int16: 2,
  int32: 3,
  int64: 4,
  float16: 5,
  float32: 6,
  float64: 7,
  complex64: 9,
  bool: 11,
  bfloat16: 15,
  float8e5m2: 23,
  float8e4m3: 24,
} as const;

/** `"aten::add.Tensor"` called with `args`. */
export function callAny(name: string, ...args: Boxed[]): Unboxed {
  const dot = name.indexOf('.');
  const id = dot < 0 ? native().findOperator(name, '') : native().findOperator(name.slice(0, dot), name.slice(dot + 1));
  return native().call(id, ...args);
}

/** The same where the result is one tensor. */
export function call(name: string, ...args: Boxed[]): TensorHandle {
  return callAny(name, ...args) as number as TensorHandle;
}

export function floats(values: readonly number[], shape: readonly number[] = [values.length]): TensorHandle {
  return native().fromBytes(new Uint8Array(Float32Array.from(values).buffer), shape, dtype.float32);
}

export function bytesOf(tensor: TensorHandle, byteLength: number): Uint8Array {
  const out = new Uint8Array(byteLength);
  native().readBytes(tensor, out);
  return out;
}

export function valuesOf(tensor: TensorHandle): number[] {
  const wide = call('aten::to.dtype', tensor, dtype.float64);
  const count = native()
    .info(wide)
    .shape.reduce((a, b) => a * b, 1);
  const out = bytesOf(wide, count * 8);
  native().release(wide);
  return [...new Float64Array(out.buffer)];
}

export function release(...tensors: TensorHandle[]): void {
  for (const tensor of tensors) native().release(tensor);
}

/** The error `body` throws, which must be one of ours. */
export function thrown(body: () => unknown): TierraError {
  try {
    body();
  } catch (error) {
    if (isTierraError(error)) return error;
    throw error;
  }
  throw new Error('expected a TierraError, nothing was thrown');
}

export type { DtypeCode, TensorHandle };
