/** States of AdamW in few bytes, as tensors: `native/src/optim/compressed.h` says how and why. */
import { momentBlock, stateBytesPerElement } from '../../memory/index.ts';
import type { CompressedTensors, UpdateGroup } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import type { Parameter } from '../../nn/index.ts';
import { adopt, type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { elementTypes } from '../elementTypes.ts';
import type { StateKind } from '../store.ts';

/** Bytes of state per parameter beside a weight of type `dtype`: 4.03 for bf16, whose master is in two of them, 2.03 for fp32. */
export function compressedStateBytes(dtype: Dtype): number {
  return stateBytesPerElement(elementTypes(dtype, 'compressed')) - dtypeBytes(dtype);
}

/** The state of a parameter that has not been updated yet, on the CPU. */
export function compressedState(parameter: Parameter, dtype: Dtype): Map<StateKind, Tensor> {
  const { shape, elements } = parameter;
  const scales = (): Tensor => ops.zeros([Math.ceil(elements / momentBlock)], { dtype: 'float32' }).keep();
  const codes = (): Tensor => ops.zeros(shape, { dtype: 'uint8' }).keep();
  return new Map<StateKind, Tensor>([
    ...(dtype === 'bfloat16' ? [['correction', ops.zeros(shape, { dtype: 'int16' }).keep()] as const] : []),
    ['moment1Codes', codes()],
    ['moment1Scales', scales()],
    ['moment2Codes', codes()],
    ['moment2Scales', scales()],
  ]);
}

/**
 * The weight of a parameter with this first value and new `state`. What the value has beyond bf16 goes into the correction: weight and
 * correction are the value in fp32, exactly.
 */
export function firstWeight(value: Tensor, state: ReadonlyMap<StateKind, Tensor>, dtype: Dtype): Tensor {
  const correction = state.get('correction');
  if (correction === undefined || value.dtype === dtype) return value;
  const weight = ops.empty(value.shape, { dtype, device: 'cpu' });
  noGrad(() => splitMaster(value, weight, correction));
  return weight;
}

const pieceElements = 2 ** 20;

/** Writes `value`, rounded as updates round it (halves away from zero), to the bf16 tensor `weight`, and what is left of its fp32 bits to `correction`. */
export function splitMaster(value: Tensor, weight: Tensor, correction: Tensor | null): void {
  const flat = (tensor: Tensor): Tensor => ops.reshape(tensor, [-1]);
  const [from, upper, lower] = [flat(value), flat(weight), correction === null ? null : flat(correction)];
  const { elements } = weight;
  for (let begin = 0; begin < elements; begin += pieceElements) {
    const end = Math.min(begin + pieceElements, elements);
    scope(() => {
      const piece = ops.to(ops.slice(from, 0, begin, end), { dtype: 'float32', device: 'cpu' });
      const bytes = ops.toBytes(piece);
      const bits = new Uint32Array(bytes.buffer, bytes.byteOffset, end - begin);
      const put = (into: Tensor, half: (each: number) => number): void => {
        const halves = Uint16Array.from(bits, half);
        const source = native().fromBytes(new Uint8Array(halves.buffer), [end - begin], dtypeCode(into.dtype));
        ops.copyInto(ops.slice(into, 0, begin, end), adopt(source));
      };
      put(upper, (each) => (each + 0x8000) >>> 16);
      if (lower !== null) put(lower, (each) => each & 0xffff);
    });
  }
}

/** One update in place. `gradient` is contiguous. */
export function updateCompressed(
  parameter: Parameter,
  state: ReadonlyMap<StateKind, Tensor>,
  gradient: Tensor,
  group: UpdateGroup,
  gradientScale: number,
  threads: number,
): void {
  const tensors: CompressedTensors = {
    gradient: gradient.handle,
    weight: parameter.tensor.handle,
    low: state.get('correction')?.handle ?? null,
    m: state.get('moment1Codes')!.handle,
    root: state.get('moment2Codes')!.handle,
    mScales: state.get('moment1Scales')!.handle,
    rootScales: state.get('moment2Scales')!.handle,
    weightOut: null,
  };
  native().optimizerUpdateCompressed('automatic', group, gradientScale, tensors, threads);
}
