import { check } from '../core/errors.ts';
import { mixIntegers } from '../core/hash.ts';

const rounds = 8;

/**
 * A permutation of [0, count) chosen by integers, in constant memory: a balanced Feistel network over the next power of
 * four, cycle-walked back into the range (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
 * At most four rounds of walking are expected per index. `count` may be up to 2^52.
 */
export function keyedPermutation(count: number, ...key: readonly number[]): (index: number) => number {
  check(
    Number.isSafeInteger(count) && count >= 1 && count <= 2 ** 52,
    `permutation of ${count} elements: expected 1 to 2^52`,
  );
  let halfBits = 1;
  while (4 ** halfBits < count) halfBits++;
  const base = 2 ** halfBits;
  const mask = base - 1;
  const roundKeys = Array.from({ length: rounds }, (_, round) => Number(mixIntegers(...key, round) & 0xffffffffn) | 0);

  const encrypt = (value: number): number => {
    let left = Math.floor(value / base);
    let right = value % base;
    for (const roundKey of roundKeys) {
      const next = (left ^ scramble(right, roundKey)) & mask;
      left = right;
      right = next;
    }
    return left * base + right;
  };

  return (index) => {
    check(
      Number.isInteger(index) && index >= 0 && index < count,
      `permutation: index ${index} is not in 0..${count - 1}`,
    );
    let value = encrypt(index);
    while (value >= count) value = encrypt(value);
    return value;
  };
}

/** MurmurHash3's 32-bit finaliser over the half-block, with the round's key mixed in before. */
function scramble(value: number, roundKey: number): number {
  let hash = Math.imul(value ^ roundKey, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
