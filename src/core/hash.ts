/** 64-bit mixing for keys of random streams: SplitMix64's finaliser (Steele, Lea, Flood 2014), applied word by word. */
const mask = (1n << 64n) - 1n;

function mix(value: bigint): bigint {
  let z = (value + 0x9e3779b97f4a7c15n) & mask;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
  return z ^ (z >> 31n);
}

/** One 64-bit value from a sequence of integers; every position matters. */
export function mixIntegers(...words: readonly number[]): bigint {
  let state = 0n;
  for (const word of words) state = mix(state ^ (BigInt(word) & mask));
  return state;
}

/** FNV-1a, 64 bits, over UTF-8: stable names to numbers. */
export function hashString(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & mask;
  return hash;
}

/** One 64-bit value from a seed and a name: independent of the order in which names are visited. */
export function seedFor(seed: number, name: string): bigint {
  return mix(mix(BigInt(seed) & mask) ^ hashString(name));
}
