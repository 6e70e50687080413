/** The kernel ends a process without a word when memory runs out: said before, where the numbers are known. */
import type { Config } from '../config/index.ts';
import type { HostMemory } from '../core/hostMemory.ts';
import { formatBytes } from '../core/units.ts';
import type { ParameterStore } from '../offload/store.ts';

/** RAM that a store has taken or will touch as it trains. */
export function hostNeed(store: ParameterStore, device: string): number {
  return store
    .use()
    .filter(({ tier }) => tier === 'host' || (tier === 'gpu' && device === 'cpu'))
    .reduce((sum, { usedBytes }) => sum + usedBytes, 0);
}

/** Null when `needBytes` fit into what was available before anything was placed. */
export function memoryWarning(needBytes: number, before: HostMemory, { memory }: Config): string | null {
  const { availableBytes, group } = before;
  if (needBytes <= availableBytes) return null;
  const limit =
    group !== null && group.limitBytes - group.usedBytes <= availableBytes
      ? `${group.file} allows ${formatBytes(group.limitBytes)}, of which ${formatBytes(group.usedBytes)} are in use`
      : `the machine has ${formatBytes(availableBytes)} to give`;
  const setting = memory.cpu === 'auto' ? 'memory.gpu or memory.cpu' : 'memory.cpu';
  return (
    `this run needs ${formatBytes(needBytes)} of RAM and ${limit}: the kernel would end it without a message. ` +
    `Lower ${setting} by ${formatBytes(needBytes - availableBytes)}, or raise the limit`
  );
}
