/** The number in `cuda:N`, or -1 for the CPU. */
export function cudaIndex(device: string): number {
  return device === 'cpu' ? -1 : Number(device.split(':')[1] ?? 0);
}
