import { MiB } from '../core/units.ts';

/** How swaps are read and written: 32 MiB in flight each way. Measured with the same requests that runs make. */
export const swapRequests = { blockBytes: 2 * MiB, readDepth: 16, writeDepth: 16 } as const;
