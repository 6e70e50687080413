/**
 * Where every chunk rests between steps, and its bytes there: for first values, checkpoints and repair. Used only
 * while no ticket is under way.
 */

import { TierraError } from '../../core/errors.ts';
import type { Layout } from '../../memory/index.ts';
import { type ChunkId, type Place, type Plan, parameterBytes, type SlotId, stateBytes } from '../../memory/index.ts';
import type { ArenaPlace } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import type { Tiers } from './tiers.ts';

export type HomeKind = 'parameter' | 'state';

/** Chunk bytes that are on disk are worked on in one host staging slot and written back when another is asked for. */
export class Homes {
  readonly #plan: Plan;
  readonly #layout: Layout;
  readonly #tiers: Tiers;
  readonly #staging: SlotId | null;
  /** By chunk: which of two places that take turns holds the newest bytes. */
  readonly #flipped: Uint8Array;
  /** By chunk: the step stamped on what is on disk. */
  readonly #stamps = { parameter: new Map<ChunkId, number>(), state: new Map<ChunkId, number>() };
  #staged: { chunk: ChunkId; kind: HomeKind; dirty: boolean } | null = null;
  /** Changed bytes did not reach the disk: what is there must not be taken for them. */
  #lost: unknown = null;

  constructor(plan: Plan, layout: Layout, tiers: Tiers) {
    this.#plan = plan;
    this.#layout = layout;
    this.#tiers = tiers;
    this.#flipped = new Uint8Array(plan.chunks.length);
    this.#staging = largestStaging(plan);
  }

  /** The slot a place means now. */
  slotOf(chunk: ChunkId, place: Place): SlotId {
    return place.alternate !== undefined && this.#flipped[chunk] === 1 ? place.alternate : place.slot;
  }

  /** After an accepted step: places that take turns take them. */
  flip(chunk: ChunkId): void {
    this.#flipped[chunk] = 1 - this.#flipped[chunk]!;
  }

  stamp(chunk: ChunkId, kind: HomeKind): number {
    return this.#stamps[kind].get(chunk) ?? 0;
  }

  setStamp(chunk: ChunkId, kind: HomeKind, step: number): void {
    this.#stamps[kind].set(chunk, step);
  }

  /** The chunk's bytes, in memory: at home, or a copy of what is on disk. `write` says that they will be changed. */
  bytes(chunk: ChunkId, kind: HomeKind, write: boolean): ArenaPlace {
    const slot = this.restSlot(chunk, kind);
    if (this.#tiers.slot(slot).tier !== 'nvme') return this.#tiers.memory(slot);
    if (this.#lost !== null) throw this.#lost;
    const staging = this.#tiers.memory(this.#stagingSlot());
    if (this.#staged?.chunk !== chunk || this.#staged.kind !== kind) {
      this.flush();
      if (this.#stamps[kind].has(chunk)) {
        const { swap, swapOffset } = this.#tiers.extent(slot);
        const { arena, offset } = staging;
        const transfer = { swapOffset, arena, arenaOffset: offset, bytes: this.#size(chunk, kind), chunk };
        native().swapRead(swap, { ...transfer, step: this.stamp(chunk, kind) });
      } else native().arenaFill(staging.arena, staging.offset, this.#size(chunk, kind), 0);
      this.#staged = { chunk, kind, dirty: !this.#stamps[kind].has(chunk) };
    }
    if (write) this.#staged.dirty = true;
    return staging;
  }

  /** Writes what was changed in staging to disk. */
  flush(): void {
    if (this.#lost !== null) throw this.#lost;
    const staged = this.#staged;
    this.#staged = null;
    if (staged === null || !staged.dirty) return;
    const { chunk, kind } = staged;
    const { arena, offset } = this.#tiers.memory(this.#stagingSlot());
    const { swap, swapOffset } = this.#tiers.extent(this.restSlot(chunk, kind));
    const step = this.stamp(chunk, kind);
    const bytes = this.#size(chunk, kind);
    try {
      native().swapWrite(swap, { swapOffset, arena, arenaOffset: offset, bytes, chunk, step });
    } catch (error) {
      this.#lost = error;
      throw error;
    }
    this.setStamp(chunk, kind, step);
  }

  /** The slot with the newest bytes. */
  restSlot(chunk: ChunkId, kind: HomeKind): SlotId {
    const { parameter, state } = this.#plan.chunks[chunk]!;
    const place = kind === 'parameter' ? parameter : state;
    if (place === null) throw new TierraError('E_INTERNAL', `chunk ${chunk} is frozen and has no state`);
    return this.slotOf(chunk, place);
  }

  #size(chunk: ChunkId, kind: HomeKind): number {
    const shape = this.#layout.chunks[chunk]!;
    return kind === 'parameter' ? parameterBytes(shape, this.#plan.types) : stateBytes(shape, this.#plan.types);
  }

  #stagingSlot(): SlotId {
    if (this.#staging === null)
      throw new TierraError('E_INTERNAL', 'the plan keeps chunks on disk without a staging slot');
    return this.#staging;
  }
}

/** The largest host slot that nothing rests in. */
function largestStaging(plan: Plan): SlotId | null {
  const resting = new Set<SlotId>();
  for (const { parameter, state, gradients } of plan.chunks) {
    for (const place of [parameter, ...(state === null ? [] : [state]), ...gradients]) {
      resting.add(place.slot);
      if (place.alternate !== undefined) resting.add(place.alternate);
    }
  }
  const free = plan.slots.filter((slot) => slot.tier === 'host' && !resting.has(slot.id));
  return free.sort((a, b) => b.bytes - a.bytes)[0]?.id ?? null;
}
