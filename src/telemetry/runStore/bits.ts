/** Float32 values as integers whose small differences are small numbers, and integers as planes of bytes that compress. */

/** The same memory, read as integers. */
export const bitsOf = (values: Float32Array): Int32Array =>
  new Int32Array(values.buffer, values.byteOffset, values.length);

/** Signed to unsigned so that numbers near zero stay small: 0, -1, 1, -2 become 0, 1, 2, 3. */
export const zigzag = (value: number): number => ((value << 1) ^ (value >> 31)) >>> 0;

export const unzigzag = (value: number): number => (value >>> 1) ^ -(value & 1);

/** All high bytes, then all second bytes, and so on: neighbours in a plane resemble each other. */
export function toPlanes(words: Int32Array | Uint32Array): Uint8Array {
  const count = words.length;
  const planes = new Uint8Array(4 * count);
  for (let i = 0; i < count; i++) {
    const word = words[i]!;
    planes[i] = word >>> 24;
    planes[count + i] = word >>> 16;
    planes[2 * count + i] = word >>> 8;
    planes[3 * count + i] = word;
  }
  return planes;
}

export function fromPlanes(planes: Uint8Array): Uint32Array {
  const count = planes.length / 4;
  const words = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    words[i] = (planes[i]! << 24) | (planes[count + i]! << 16) | (planes[2 * count + i]! << 8) | planes[3 * count + i]!;
  }
  return words;
}

/** Differences of differences: what rises or falls evenly becomes zeros. Wraps around, so that it is exact for any input. */
export function secondDifferences(words: Int32Array): Uint32Array {
  const result = new Uint32Array(words.length);
  let last = 0;
  let lastDifference = 0;
  for (let i = 0; i < words.length; i++) {
    const difference = (words[i]! - last) | 0;
    result[i] = zigzag((difference - lastDifference) | 0);
    last = words[i]!;
    lastDifference = difference;
  }
  return result;
}

export function fromSecondDifferences(coded: Uint32Array): Int32Array {
  const words = new Int32Array(coded.length);
  let last = 0;
  let lastDifference = 0;
  for (let i = 0; i < coded.length; i++) {
    lastDifference = (lastDifference + unzigzag(coded[i]!)) | 0;
    last = (last + lastDifference) | 0;
    words[i] = last;
  }
  return words;
}

/** Rounded to 10 bits behind the leading one: a relative error of at most 2^-11. */
export function roundTo10Bits(values: Float32Array): Float32Array {
  const rounded = values.slice();
  const bits = bitsOf(rounded);
  for (let i = 0; i < bits.length; i++) {
    if (Number.isFinite(values[i]!)) bits[i] = (bits[i]! + 0x1000) & ~0x1fff;
  }
  return rounded;
}
