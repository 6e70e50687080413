import { TierraError } from '../core/errors.ts';

/** Element types by libtorch's names. `code` is `c10::ScalarType`. */
const table = {
  uint8: { code: 0, bytes: 1, floating: false },
  int8: { code: 1, bytes: 1, floating: false },
  int16: { code: 2, bytes: 2, floating: false },
  int32: { code: 3, bytes: 4, floating: false },
  int64: { code: 4, bytes: 8, floating: false },
  float16: { code: 5, bytes: 2, floating: true },
  float32: { code: 6, bytes: 4, floating: true },
  float64: { code: 7, bytes: 8, floating: true },
  bool: { code: 11, bytes: 1, floating: false },
  bfloat16: { code: 15, bytes: 2, floating: true },
} as const;

export type Dtype = keyof typeof table;

const byCode = new Map<number, Dtype>(Object.entries(table).map(([name, { code }]) => [code, name as Dtype]));

export const dtypes = Object.keys(table) as readonly Dtype[];

export function dtypeCode(dtype: Dtype): number {
  return table[dtype].code;
}

/** Bytes of one element. */
export function dtypeBytes(dtype: Dtype): number {
  return table[dtype].bytes;
}

export function isFloating(dtype: Dtype): boolean {
  return table[dtype].floating;
}

export function dtypeFromCode(code: number): Dtype {
  const dtype = byCode.get(code);
  if (dtype === undefined) {
    throw new TierraError('E_UNSUPPORTED', `libtorch element type ${code} is not one Tierra works with`, {
      hint: `Convert to one of ${dtypes.join(', ')} first.`,
    });
  }
  return dtype;
}
