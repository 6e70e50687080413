import { GiB } from '../core/units.ts';
import { native } from '../native/load.ts';

/** The number in `cuda:N`, or -1 for the CPU. */
export function cudaIndex(device: string): number {
  return device === 'cpu' ? -1 : Number(device.split(':')[1] ?? 0);
}

/** More than a context, its kernels and the libraries' workspaces take: the rest is other processes'. */
const mostContextBytes = 2 * GiB;

/**
 * Device memory that is neither free nor libtorch's: the CUDA context with what was loaded into it. To be asked while this process
 * has no arenas on the device, and after it has computed something, since kernels are loaded when first used. 0 on the CPU.
 */
export function contextBytes(device: string): number {
  if (device === 'cpu') return 0;
  native().synchronize(device);
  const { totalBytes, freeBytes } = native().deviceInfo(cudaIndex(device));
  const outside = totalBytes - freeBytes - native().memoryStats(device).reservedBytes;
  return Math.min(mostContextBytes, Math.max(0, outside));
}
