/**
 * Forward passes outside the plan: evaluation, generation, odd batches. A unit's chunks are fetched when it is entered,
 * into slots that the plan leaves free between steps; what was used longest ago makes room.
 */
import { TierraError } from '../../core/errors.ts';
import { type ChunkId, type Layout, type Plan, parameterBytes, type Slot, type SlotId } from '../../memory/index.ts';
import type { ExecutorId, TicketId } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import { cudaIndex } from '../device.ts';
import type { Homes } from './homes.ts';
import type { Tiers } from './tiers.ts';
import type { Views } from './views.ts';

export interface OnDemandParts {
  readonly plan: Plan;
  readonly layout: Layout;
  readonly tiers: Tiers;
  readonly homes: Homes;
  readonly views: Views;
  readonly device: string;
}

export class OnDemand {
  readonly #parts: OnDemandParts;
  readonly #free: Slot[];
  /** Chunks in GPU slots, least recently used first; a unit at work is pinned and not among them. */
  readonly #cached = new Map<ChunkId, Slot>();
  readonly #pinned = new Map<ChunkId, Slot>();
  #carriedThere = false;
  #executor: ExecutorId | null = null;
  #nextId = 1;

  constructor(parts: OnDemandParts) {
    this.#parts = parts;
    this.#free = freeGpuSlots(parts.plan).sort((a, b) => a.bytes - b.bytes);
  }

  /** Brings the chunks to the GPU and points their parameters there. */
  acquire(chunks: readonly ChunkId[]): void {
    this.#carriedThere = false;
    const { plan, views } = this.#parts;
    for (const chunk of chunks) {
      const { parameter, parameterHome } = plan.chunks[chunk]!;
      if (parameterHome === 'gpu') views.bind(chunk, this.#parts.homes.slotOf(chunk, parameter));
      else if (!this.#pinned.has(chunk)) this.#pin(chunk);
    }
  }

  #pin(chunk: ChunkId): void {
    let slot = this.#cached.get(chunk);
    if (slot === undefined) {
      slot = this.#room(chunk);
      try {
        this.#fetch(chunk, slot.id);
      } catch (error) {
        this.#free.push(slot);
        this.#stop();
        throw error;
      }
    }
    this.#cached.delete(chunk);
    this.#pinned.set(chunk, slot);
    this.#parts.views.bind(chunk, slot.id);
  }

  release(chunks: readonly ChunkId[]): void {
    for (const chunk of chunks) {
      const slot = this.#pinned.get(chunk);
      if (slot === undefined) continue;
      this.#pinned.delete(chunk);
      this.#cached.set(chunk, slot);
    }
  }

  #room(chunk: ChunkId): Slot {
    const bytes = parameterBytes(this.#parts.layout.chunks[chunk]!, this.#parts.plan.types);
    for (;;) {
      const index = this.#free.findIndex((slot) => slot.bytes >= bytes);
      if (index >= 0) return this.#free.splice(index, 1)[0]!;
      const [oldest] = this.#cached;
      if (oldest === undefined) {
        throw new TierraError(
          'E_PLAN',
          `chunk ${chunk} (${bytes} bytes) finds no room on the GPU outside a training step`,
          {
            hint: 'Raise memory.gpu.',
          },
        );
      }
      const [leaving, slot] = oldest;
      this.#cached.delete(leaving);
      this.#parts.views.unbind(leaving);
      this.#free.push(slot);
      this.#free.sort((a, b) => a.bytes - b.bytes);
    }
  }

  #fetch(chunk: ChunkId, slot: SlotId): void {
    const { homes, tiers, layout, plan, device } = this.#parts;
    const bytes = parameterBytes(layout.chunks[chunk]!, plan.types);
    const from = homes.bytes(chunk, 'parameter', false);
    const to = tiers.memory(slot);
    this.#executor ??= native().executorCreate({
      device: cudaIndex(device),
      updateThreads: 1,
      scaleCells: 1,
      timelineCapacity: 1024,
    });
    const id = this.#nextId++ as TicketId;
    const places = { source: from.arena, sourceOffset: from.offset, target: to.arena, targetOffset: to.offset };
    const ticket = { id, after: [], afterMoment: -1, afterCell: -1, cause: 'fetch', chunk, step: 0, bytes, ...places };
    native().submit(this.#executor, [{ ...ticket, lane: 'toDevice' }]);
    native().wait(this.#executor, [id], 'fetch');
    // Bytes from disk pass through one staging slot: the next chunk may take it.
    if (device !== 'cpu') native().drain(this.#executor);
  }

  /** The copies that a planned step finds on the GPU when it begins are brought there, unless they still are. */
  restoreCarried(): void {
    if (this.#carriedThere) return;
    for (const { chunk, slot } of this.#parts.plan.carried) this.#fetch(chunk, slot);
    this.#carriedThere = true;
  }

  /** A step was dropped: the slots hold anything. */
  dropCarried(): void {
    this.#carriedThere = false;
  }

  /** Forgets what is on the GPU: a training step takes the slots back. */
  clear(): void {
    for (const [chunk] of this.#pinned) this.#parts.views.unbind(chunk);
    for (const chunk of this.#cached.keys()) this.#parts.views.unbind(chunk);
    this.#pinned.clear();
    this.#cached.clear();
    this.#free.length = 0;
    this.#free.push(...freeGpuSlots(this.#parts.plan).sort((a, b) => a.bytes - b.bytes));
  }

  dispose(): void {
    this.clear();
    this.#stop();
  }

  #stop(): void {
    if (this.#executor !== null) native().executorDestroy(this.#executor);
    this.#executor = null;
  }
}

/** GPU slots in which nothing rests between steps. */
function freeGpuSlots(plan: Plan): Slot[] {
  const resting = new Set(
    plan.chunks.flatMap(({ parameter, state }) =>
      [parameter, ...(state === null ? [] : [state])].map(({ slot }) => slot),
    ),
  );
  return plan.slots.filter((slot) => slot.tier === 'gpu' && !resting.has(slot.id));
}
