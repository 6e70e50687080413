/** What allocators really take. */
import { MiB, roundUp } from '../core/units.ts';

const mappedBytes = MiB;

/** `native/src/core/cpuAllocator.cc`: a header, eight sizes per doubling, pages from a MiB on. */
export function cpuBlock(bytes: number): number {
  if (bytes === 0) return 0;
  const whole = bytes + 64;
  if (whole >= mappedBytes) return roundUp(whole, 4096);
  return roundUp(whole, Math.max(64, 2 ** Math.floor(Math.log2(whole)) / 8));
}

/** libtorch's CUDA allocator counts in blocks of 512 bytes. */
export const cudaBlock = (bytes: number): number => roundUp(bytes, 512);
