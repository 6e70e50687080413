/** The three arenas of a plan: GPU memory (RAM on a machine without one), host memory, files. Taken once, given back whole. */
import { isTierraError, TierraError } from '../../core/errors.ts';
import { formatBytes, roundUp } from '../../core/units.ts';
import type { ParkingTier, PerTier, Plan, Slot, SlotId } from '../../memory/index.ts';
import type { ArenaId, ArenaPlace, SwapId, SwapInfo } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import { cudaIndex } from '../device.ts';
import { noteLeftovers, removedLeftovers, sweepMeasurements } from '../leftovers.ts';
import type { ParkingPlace } from '../parking/parking.ts';
import { swapRequests } from '../swapRequests.ts';

const pageBytes = 4096;

export interface DiskOptions {
  readonly paths: readonly string[];
  readonly sizeBytes: number | null;
  readonly backend: 'auto' | 'uring' | 'threads';
  readonly direct: boolean;
  readonly verify: boolean;
  readonly runId: string;
}

/** One extent on disk: where its payload begins in the swap. */
export interface Extent {
  readonly swap: SwapId;
  readonly swapOffset: number;
}

/** An arena of the plan; what is said when the machine refuses it begins with whose bytes these are. */
function arena(kind: 'device' | 'host', bytes: number, index: number): ArenaId {
  try {
    return native().arenaCreate(kind, bytes, index, true);
  } catch (error) {
    if (!isTierraError(error, 'E_OUT_OF_MEMORY')) throw error;
    const setting = kind === 'device' ? 'memory.gpu' : 'memory.cpu';
    const { hint, details } = error;
    throw new TierraError(
      'E_OUT_OF_MEMORY',
      `the plan's part of ${setting} (${formatBytes(bytes)}): ${error.message}`,
      {
        ...(hint === undefined ? {} : { hint }),
        details: { ...details, setting, need: bytes },
        cause: error,
      },
    );
  }
}

export class Tiers {
  readonly gpu: ArenaId;
  readonly host: ArenaId | null;
  readonly swap: SwapId | null;
  readonly swapInfo: SwapInfo | null;
  /** What is taken of each tier: for chunks, and for what is parked. */
  readonly bytes: PerTier;
  readonly #slots: readonly Slot[];
  readonly #extents = new Map<SlotId, number>();
  readonly #parked: PerTier;
  #parkedSwapOffset = 0;

  /** Takes everything `plan` asks for and `parked` bytes beside it, or nothing. */
  constructor(plan: Plan, parked: PerTier, device: string, disk: DiskOptions | null) {
    const { gpu, host, nvme } = plan.arenaBytes;
    const arenaBytes = { gpu, host: roundUp(host, pageBytes) + parked.host, nvme: nvme + parked.nvme };
    this.bytes = parked.host === 0 ? { ...arenaBytes, host } : arenaBytes;
    this.#parked = parked;
    this.#slots = plan.slots;
    const index = Math.max(0, cudaIndex(device));
    this.gpu = arena('device', Math.max(4096, arenaBytes.gpu), index);
    try {
      this.host = arenaBytes.host === 0 ? null : arena('host', arenaBytes.host, index);
      try {
        [this.swap, this.swapInfo] = this.#openSwap(disk);
      } catch (error) {
        if (this.host !== null) native().arenaDestroy(this.host);
        throw error;
      }
    } catch (error) {
      native().arenaDestroy(this.gpu);
      throw error;
    }
  }

  #openSwap(disk: DiskOptions | null): [SwapId | null, SwapInfo | null] {
    let bytes = 0;
    for (const slot of this.#slots) {
      if (slot.tier !== 'nvme') continue;
      this.#extents.set(slot.id, bytes);
      bytes += native().swapExtentBytes(slot.bytes);
    }
    this.#parkedSwapOffset = bytes;
    bytes += this.#parked.nvme;
    if (bytes === 0) return [null, null];
    if (disk === null) throw new TierraError('E_INTERNAL', 'the plan uses a disk tier that is not configured');
    if (disk.sizeBytes !== null && bytes > disk.sizeBytes) {
      throw new TierraError(
        'E_OUT_OF_MEMORY',
        `memory.nvme: the plan needs ${formatBytes(bytes)} on disk with its trailers, memory.nvme.size is ${formatBytes(disk.sizeBytes)}`,
        { hint: `Set memory.nvme.size to at least ${Math.ceil(bytes / 2 ** 20)}MiB.` },
      );
    }
    const { paths, backend, direct, verify, runId } = disk;
    for (const folder of paths) sweepMeasurements(folder);
    const options = { paths, bytes, backend, direct, checksum: verify, runId };
    const swap = native().swapOpen({ ...options, ...swapRequests });
    return [swap, native().swapInfo(swap)];
  }

  slot(id: SlotId): Slot {
    return this.#slots[id]!;
  }

  /** A slot's bytes in memory. Throws `E_INTERNAL` for a slot on disk. */
  memory(id: SlotId): ArenaPlace {
    const { tier, offset, label } = this.slot(id);
    const arena = tier === 'gpu' ? this.gpu : tier === 'host' ? this.host : null;
    if (arena === null) throw new TierraError('E_INTERNAL', `slot ${label} is not in memory`);
    return { arena, offset };
  }

  /** A slot's extent on disk. */
  extent(id: SlotId): Extent {
    const swapOffset = this.#extents.get(id);
    if (swapOffset === undefined || this.swap === null) {
      throw new TierraError('E_INTERNAL', `slot ${this.slot(id).label} is not on disk`);
    }
    return { swap: this.swap, swapOffset };
  }

  /** Where parked activations go: behind the chunks. */
  parking(tier: ParkingTier): ParkingPlace {
    if (this.host === null || (tier === 'nvme' && this.swap === null)) {
      throw new TierraError('E_INTERNAL', `nothing was taken on ${tier} for parked activations`);
    }
    const offset = this.bytes.host - this.#parked.host;
    return { arena: this.host, offset, swap: this.swap, swapOffset: this.#parkedSwapOffset };
  }

  /** What is not as asked for, each with its cause, and what killed runs had left. */
  notes(): readonly string[] {
    const arenas = [this.gpu, this.host].flatMap((arena) => (arena === null ? [] : native().arenaInfo(arena).notes));
    if (this.swapInfo === null) return arenas;
    // Registered buffers are known once the arenas exist: the swap is asked again.
    const { backend, reasons, leftovers } = native().swapInfo(this.swap!);
    noteLeftovers(leftovers);
    const disk = reasons.map((reason) => `memory.nvme (${backend}): ${reason}`);
    const removed = removedLeftovers().map((file) => `memory.nvme: removed ${file}, which a killed run had left`);
    return [...arenas, ...disk, ...removed];
  }

  dispose(): void {
    native().arenaDestroy(this.gpu);
    if (this.host !== null) native().arenaDestroy(this.host);
    if (this.swap !== null) native().swapClose(this.swap);
  }
}
