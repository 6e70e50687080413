/** New tensors, copies and conversions. */
import { check } from '../../core/errors.ts';
import type { DeviceName } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import { type Dtype, dtypeBytes, dtypeCode } from '../dtype.ts';
import { operator, scalarType } from '../operator.ts';
import { adopt, type Tensor } from '../tensor.ts';

export interface TensorOptions {
  readonly dtype?: Dtype;
  readonly device?: DeviceName;
}

type Factory = readonly [number | undefined, null, DeviceName | undefined];
const factory = ({ dtype = 'float32', device = 'cpu' }: TensorOptions): Factory => [dtypeCode(dtype), null, device];
const factoryTail = '*, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None';

const emptyOperator = operator<[readonly number[], ...Factory], Tensor>(
  `aten::empty.memory_format(SymInt[] size, ${factoryTail}, MemoryFormat? memory_format=None) -> Tensor`,
);
const zerosOperator = operator<[readonly number[], ...Factory], Tensor>(
  `aten::zeros(SymInt[] size, ${factoryTail}) -> Tensor`,
);
const fullOperator = operator<[readonly number[], number, ...Factory], Tensor>(
  `aten::full(SymInt[] size, Scalar fill_value, ${factoryTail}) -> Tensor`,
);
const arangeOperator = operator<[number, number, ...Factory], Tensor>(
  `aten::arange.start(Scalar start, Scalar end, ${factoryTail}) -> Tensor`,
);
const toCopy = operator<[Tensor, number | undefined, null, DeviceName | undefined, null, boolean], Tensor>(
  'aten::_to_copy(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None, bool non_blocking=False, MemoryFormat? memory_format=None) -> Tensor',
);
const copyOperator = operator<[Tensor, Tensor, boolean], Tensor>(
  'aten::copy_(Tensor(a!) self, Tensor src, bool non_blocking=False) -> Tensor(a!)',
);
const copyEachOperator = operator<[readonly Tensor[], readonly Tensor[], boolean], unknown>(
  'aten::_foreach_copy_(Tensor(a!)[] self, Tensor[] src, bool non_blocking=False) -> ()',
);
const zeroOperator = operator<[Tensor], Tensor>('aten::zero_(Tensor(a!) self) -> Tensor(a!)');
const fillOperator = operator<[Tensor, number], Tensor>(
  'aten::fill_.Scalar(Tensor(a!) self, Scalar value) -> Tensor(a!)',
);
const normalOperator = operator<[Tensor, number, number], Tensor>(
  'aten::normal_(Tensor(a!) self, float mean=0, float std=1, *, Generator? generator=None) -> Tensor(a!)',
);
const uniformOperator = operator<[Tensor, number, number], Tensor>(
  'aten::uniform_(Tensor(a!) self, float from=0, float to=1, *, Generator? generator=None) -> Tensor(a!)',
);

/** Uninitialised memory: fill it before reading. */
export const empty = (shape: readonly number[], options: TensorOptions = {}): Tensor =>
  emptyOperator(shape, ...factory(options));
export const zeros = (shape: readonly number[], options: TensorOptions = {}): Tensor =>
  zerosOperator(shape, ...factory(options));
export const full = (shape: readonly number[], value: number, options: TensorOptions = {}): Tensor =>
  fullOperator(shape, value, ...factory(options));
export const ones = (shape: readonly number[], options: TensorOptions = {}): Tensor => full(shape, 1, options);
/** `start, start + 1, … end - 1`; int64 unless told otherwise. */
export const arange = (start: number, end: number, options: TensorOptions = {}): Tensor =>
  arangeOperator(start, end, ...factory({ dtype: 'int64', ...options }));

export const clone = operator<[Tensor], Tensor>(
  'aten::clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor',
);
/** The same data without its graph. */
export const detach = (x: Tensor): Tensor => adopt(native().detach(x.handle));

/** A copy in another dtype or on another device; the same tensor (a second handle) where nothing would change. */
export function to(x: Tensor, options: TensorOptions): Tensor {
  const { dtype = x.dtype, device = x.device } = options;
  if (dtype === x.dtype && device === x.device) return adopt(native().retain(x.handle));
  return toCopy(x, scalarType(options.dtype), null, options.device, null, false);
}

/** Overwrites `into` with `from` (any dtype and device, same shape or broadcast). */
export function copyInto(into: Tensor, from: Tensor): void {
  copyOperator(into, from, false).dispose();
}
/** The same for each pair, on a GPU in one launch where dtypes and strides agree. */
export function copyEachInto(into: readonly Tensor[], from: readonly Tensor[]): void {
  if (into.length > 0) copyEachOperator(into, from, false);
}
export function zeroInPlace(x: Tensor): void {
  zeroOperator(x).dispose();
}
export function fillInPlace(x: Tensor, value: number): void {
  fillOperator(x, value).dispose();
}
/** Fills with normal deviates from the device's default generator. */
export function normalInPlace(x: Tensor, mean: number, std: number): void {
  normalOperator(x, mean, std).dispose();
}
/** Fills with uniform deviates in [from, to) from the device's default generator. */
export function uniformInPlace(x: Tensor, from: number, to: number): void {
  uniformOperator(x, from, to).dispose();
}

type HostArray = Float32Array | Float64Array | BigInt64Array | Int32Array | Int16Array | Int8Array | Uint8Array;

const arrayDtypes = new Map<unknown, Dtype>([
  [Float32Array, 'float32'],
  [Float64Array, 'float64'],
  [BigInt64Array, 'int64'],
  [Int32Array, 'int32'],
  [Int16Array, 'int16'],
  [Int8Array, 'int8'],
  [Uint8Array, 'uint8'],
]);

/** A tensor from host numbers (copied). Plain numbers become float32 unless `dtype` says otherwise. */
export function fromArray(
  data: HostArray | readonly number[],
  shape?: readonly number[],
  options: TensorOptions = {},
): Tensor {
  const array = ArrayBuffer.isView(data)
    ? data
    : options.dtype === 'int64'
      ? BigInt64Array.from(data, BigInt)
      : Float64Array.from(data);
  const dtype = arrayDtypes.get(array.constructor)!;
  const sizes = shape ?? [array.length];
  const elements = sizes.reduce((product, size) => product * size, 1);
  check(
    elements === array.length,
    `fromArray: shape [${sizes}] has ${elements} elements, the data has ${array.length}`,
  );
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  const host = adopt(native().fromBytes(bytes, sizes, dtypeCode(dtype)));
  const wanted = options.dtype ?? (ArrayBuffer.isView(data) ? dtype : 'float32');
  if (wanted === dtype && (options.device ?? 'cpu') === 'cpu') return host;
  const moved = to(host, { dtype: wanted, device: options.device ?? 'cpu' });
  host.dispose();
  return moved;
}

/** Raw contiguous bytes of `x`, copied to the host. */
export function toBytes(x: Tensor): Uint8Array {
  const bytes = new Uint8Array(x.elements * dtypeBytes(x.dtype));
  native().readBytes(x.handle, bytes);
  return bytes;
}

/** All elements as doubles, row by row; int64 beyond 2^53 loses precision. */
export function toArray(x: Tensor): number[] {
  const wide = to(x, { dtype: 'float64' });
  const bytes = toBytes(wide);
  wide.dispose();
  return Array.from(new Float64Array(bytes.buffer));
}
