/** States of AdamW in few bytes: `native/src/optim/compressed.h` says how and why. */
import type { CompressedTensors, UpdateGroup } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import type { Parameter } from '../../nn/index.ts';
import { type Dtype, ops, type Tensor } from '../../tensor/index.ts';
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
