/**
 * First values as every store takes them: the master is the value in the state's type, the weight is the master rounded. What
 * is given more exactly than it is computed with, such as fp32 weights trained in bf16, loses nothing but in the weight.
 */
import { initialValues, type Parameter, type ValueSource } from '../nn/index.ts';
import { type Dtype, dtypeBytes, noGrad, ops } from '../tensor/index.ts';
import { stateDtype } from './resident/entries.ts';

export interface FirstValueOptions {
  readonly seed: number;
  readonly dtype: Dtype;
  /** Default: the initialisers, keyed by `seed`, rounded to `dtype`. */
  readonly values?: ValueSource;
}

/** Values of which weights and masters are copies, never wider than the state's type: else a weight could be rounded otherwise than its master. */
export function firstValues({ seed, dtype, values }: FirstValueOptions): ValueSource {
  if (values === undefined) return (parameter) => initialValues(parameter, seed, dtype);
  const wide = stateDtype(dtype);
  return (parameter: Parameter) => {
    const value = values(parameter);
    return dtypeBytes(value.dtype) > dtypeBytes(wide) ? noGrad(() => ops.to(value, { dtype: wide })) : value;
  };
}
