import { TierraError } from '../core/errors.ts';
import { formatBytes } from '../core/units.ts';
import { budgetSetting } from './ledger.ts';
import type { UpdateMode } from './plan.ts';
import type { PerTier, Tier } from './types.ts';

/** Where one chunk lives and how it is updated. */
export interface ChunkPlacement {
  resident: boolean;
  parameterHome: Tier;
  stateHome: Tier | 'none';
  update: UpdateMode;
  /** Where its gradient waits for the update. */
  gradientRest: Tier | 'none';
}

/** A number of equal slots. */
export interface SlotGroup {
  readonly count: number;
  readonly bytes: number;
}

/** GPU slots that chunks take turns in: parameters (and their gradients), and sums over micro-batches. */
export interface GpuPools {
  readonly normal: SlotGroup;
  readonly large: SlotGroup;
  readonly normalSums: SlotGroup;
  readonly largeSums: SlotGroup;
}

/** Host slots that bytes on their way to and from the disk, or the accumulator, take turns in. */
export interface HostStaging {
  /** Parameters from disk to the GPU. */
  readonly fetch: SlotGroup;
  /** Gradients on their way to disk. */
  readonly gradient: SlotGroup;
  /** Gradients that come back from disk for their update. */
  readonly unpark: SlotGroup;
  /** States from disk, updated, to disk. */
  readonly state: SlotGroup;
  /** Micro-batch gradients before they are added up. */
  readonly accumulate: SlotGroup;
  /** New parameters on their way to disk, where they cannot lie over their gradient. */
  readonly out: SlotGroup;
}

export interface Placement {
  readonly chunks: readonly ChunkPlacement[];
  readonly pools: GpuPools;
  readonly staging: HostStaging;
  /** Everything on disk has two extents that take turns; otherwise `spares` rotate. */
  readonly nvmePairs: boolean;
  readonly spares: readonly SlotGroup[];
  /** Arena sizes this placement needs. */
  readonly bytes: PerTier;
}

/** The free choices of a placement: shares of what is left over, between 0 and 1, and counts. */
export interface Split {
  /** Share of spare GPU memory for whole chunks (parameter and state), from the bottom of the model. */
  readonly gpuStates: number;
  /** Share of what then remains for parameters that never leave, evenly spread. */
  readonly residents: number;
  /** GPU slots kept free of chunks that are only being kept. */
  readonly slack: number;
  /** How many moments ahead of its use a fetch may start; `Infinity` leaves that to memory alone. */
  readonly lead: number;
  /** Share of spare host memory for states; the rest is undo space. */
  readonly hostStates: number;
  /** Share of undo space that is used. */
  readonly undo: number;
  readonly speculate: 'bottom' | 'even';
  /** Share of what then would wait for the norm that is previewed instead; room for it is kept free of undo space. */
  readonly preview: number;
  /** Depth of each host staging ring. */
  readonly staging: number;
}

export const noSlots: SlotGroup = { count: 0, bytes: 0 };
export const groupBytes = (group: SlotGroup): number => group.count * group.bytes;

/** `E_PLAN`: a tier is too small. `details` has `tier`, `needBytes` and `haveBytes`. */
export function shortfall(tier: Tier, what: string, needBytes: number, haveBytes: number): TierraError {
  return new TierraError(
    'E_PLAN',
    `${tier} is short by ${formatBytes(needBytes - haveBytes)}: ${what} needs ${formatBytes(needBytes)}, ${formatBytes(haveBytes)} are left for it`,
    {
      hint: `Raise ${budgetSetting[tier]} by ${formatBytes(needBytes - haveBytes)} or make the model smaller.`,
      details: { tier, what, needBytes, haveBytes },
    },
  );
}
