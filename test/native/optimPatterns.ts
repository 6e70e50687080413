/** Random bit patterns with the awkward ones made frequent, for comparing instruction sets bit for bit. */
import type { UpdateGroup } from '../../src/native/binding.ts';
import { type Dtype, dtypeBytes } from '../../src/tensor/dtype.ts';

export type FloatDtype = Extract<Dtype, 'bfloat16' | 'float16' | 'float32' | 'float64'>;
export const floatDtypes: readonly FloatDtype[] = ['bfloat16', 'float16', 'float32', 'float64'];

const layout: Record<FloatDtype, readonly [exponentBits: bigint, fractionBits: bigint]> = {
  bfloat16: [8n, 7n],
  float16: [5n, 10n],
  float32: [8n, 23n],
  float64: [11n, 52n],
};

/** SplitMix64, so that a failure can be repeated from its seed. */
export function random64(seed: number): () => bigint {
  let state = BigInt(seed);
  const mask = (1n << 64n) - 1n;
  return () => {
    state = (state + 0x9e3779b97f4a7c15n) & mask;
    let z = state;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
    return z ^ (z >> 31n);
  };
}

/** `count` elements: zeros, denormals, infinities, NaN of both kinds, huge, tiny and ordinary values, both signs. */
export function patterns(next: () => bigint, dtype: FloatDtype, count: number): Uint8Array<ArrayBuffer> {
  const [exponentBits, fractionBits] = layout[dtype];
  const all = (1n << exponentBits) - 1n;
  const bytes = new Uint8Array(count * dtypeBytes(dtype));
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) {
    const bits = next();
    let fraction = next() & ((1n << fractionBits) - 1n);
    let exponent = (bits >> 8n) & all;
    const kind = Number(bits & 15n);
    if (kind <= 1) exponent = 0n;
    if (kind === 1 || kind === 2) fraction = 0n;
    if (kind === 2 || kind === 3) exponent = all;
    if (kind === 4) exponent = all - 1n;
    if (kind === 5) exponent = 1n;
    if (kind >= 10) exponent = all / 2n - ((bits >> 24n) % 12n);
    const value = ((((bits >> 63n) << exponentBits) | exponent) << fractionBits) | fraction;
    if (dtypeBytes(dtype) === 2) view.setUint16(2 * i, Number(value), true);
    else if (dtype === 'float32') view.setUint32(4 * i, Number(value), true);
    else view.setBigUint64(8 * i, value, true);
  }
  return bytes;
}

export const bytesOf = (array: Float32Array | Float64Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** Complete hyper-parameters, changed in a few. */
export function group(changes: Partial<UpdateGroup> = {}): UpdateGroup {
  return {
    lr: 1e-3,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weightDecay: 0.01,
    biasCorrection1: 0.1,
    biasCorrection2: 0.001,
    momentum: 0,
    nesterov: false,
    ...changes,
  };
}
