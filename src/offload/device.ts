import { GiB } from '../core/units.ts';
import { native } from '../native/load.ts';

/** The number in `cuda:N`, or -1 for the CPU. */
export function cudaIndex(device: string): number {
  return device === 'cpu' ? -1 : Number(device.split(':')[1] ?? 0);
}

/** More than a context, its kernels and the libraries' workspaces take: the rest is other processes'. */
const mostContextBytes = 2 * GiB;

/**
 * What a plan reckons with before there is anything to ask: the context, and the gaps in libtorch's pool beside it. On an H200
 * with libtorch 2.11 the device held 0.8 GiB more than libtorch's peak for GPT-2 124M and Llama 1.1B, 2.6 for Llama 3.2B.
 */
export const reckonedContextBytes = (device: string): number => (device === 'cpu' ? 0 : 1.25 * GiB);

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
