/** States of AdamW in few bytes: `native/src/optim/compressed.h` says how and why. */
import type { CompressedTensors, UpdateGroup } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import type { Parameter } from '../../nn/index.ts';
import { adopt, type Dtype, dtypeCode, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { StateKind } from '../store.ts';

/** Elements that share one scale. */
const momentBlock = 256;

/** Bytes of state per parameter beside a weight of type `dtype`: 4.03 for bf16, whose master is in two of them, 2.03 for fp32. */
export function compressedStateBytes(dtype: Dtype): number {
  return (dtype === 'bfloat16' ? 2 : 0) + 2 + 8 / momentBlock;
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
 * correction are the value in fp32, exactly. The weight is then rounded as updates round it, halves away from zero.
 */
export function firstWeight(value: Tensor, state: ReadonlyMap<StateKind, Tensor>, dtype: Dtype): Tensor {
  const correction = state.get('correction');
  if (correction === undefined || value.dtype === dtype) return value;
  const weight = ops.empty(value.shape, { dtype, device: 'cpu' });
  noGrad(() => split(value, weight, correction));
  return weight;
}

const pieceElements = 2 ** 20;

function split(value: Tensor, weight: Tensor, correction: Tensor): void {
  const [from, upper, lower] = [value, weight, correction].map((tensor) => ops.reshape(tensor, [-1])) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const { elements } = weight;
  for (let begin = 0; begin < elements; begin += pieceElements) {
    const end = Math.min(begin + pieceElements, elements);
    scope(() => {
      const piece = ops.to(ops.slice(from, 0, begin, end), { dtype: 'float32', device: 'cpu' });
      const bytes = ops.toBytes(piece);
      const bits = new Uint32Array(bytes.buffer, bytes.byteOffset, end - begin);
      const put = (into: Tensor, halves: Uint16Array): void => {
        const source = native().fromBytes(new Uint8Array(halves.buffer), [end - begin], dtypeCode(into.dtype));
        ops.copyInto(ops.slice(into, 0, begin, end), adopt(source));
      };
      put(
        upper,
        Uint16Array.from(bits, (each) => (each + 0x8000) >>> 16),
      );
      put(
        lower,
        Uint16Array.from(bits, (each) => each & 0xffff),
      );
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
  };
  native().optimizerUpdateCompressed('automatic', group, gradientScale, tensors, threads);
}
