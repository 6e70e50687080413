/** Bytes per element of every element type of the format that fills whole bytes. */
const elementBytes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  F8_E4M3FNUZ: 1,
  F8_E5M2FNUZ: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
  C64: 8,
} as const;

/** Element types as safetensors spells them. */
export type SafetensorsDtype = keyof typeof elementBytes;

export const safetensorsDtypes: readonly SafetensorsDtype[] = Object.keys(elementBytes) as SafetensorsDtype[];

export function isSafetensorsDtype(name: string): name is SafetensorsDtype {
  return Object.hasOwn(elementBytes, name);
}

export function dtypeBytes(dtype: SafetensorsDtype): number {
  return elementBytes[dtype];
}

/** Bytes of a tensor, or undefined when the count does not fit a safe integer (2^53 - 1). */
export function tensorBytes(dtype: SafetensorsDtype, shape: readonly number[]): number | undefined {
  // A product of safe integers that itself rounds to a safe integer is exact.
  let bytes = dtypeBytes(dtype);
  for (const size of shape) {
    bytes *= size;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
}
