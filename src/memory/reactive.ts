import { invariant, TierraError } from '../core/errors.ts';
import { formatBytes } from '../core/units.ts';
import type { Slot } from './plan.ts';
import { ChunkCopy, type ParameterEvent, type ParameterState, parameterTable } from './states.ts';
import { type ChunkId, chunkId, type SlotId } from './types.ts';
import { lruPolicy, type VictimPolicy } from './victims.ts';

/** What a runner does, in this order, before a unit may compute. */
export type ReactiveAction =
  /** Nothing to move: the home has the same bytes. The slot is free from now on. */
  | { readonly kind: 'drop'; readonly chunk: ChunkId; readonly slot: SlotId }
  /** Wait until this chunk's gradient has left the slot. It counts as left from now on: do not report `gradientLeft` for it. */
  | { readonly kind: 'await'; readonly chunk: ChunkId; readonly slot: SlotId }
  /** Copy the parameter from its home into the slot (and report `arrived`). */
  | { readonly kind: 'fetch'; readonly chunk: ChunkId; readonly slot: SlotId };

export interface ReactiveOptions {
  /** The GPU slots it may use: `plan.pool` of whatever plan the homes come from. */
  readonly slots: readonly Slot[];
  readonly parameterBytes: readonly number[];
  /** LRU unless the future is known. */
  readonly policy?: VictimPolicy;
}

type Copy = ChunkCopy<ParameterState, ParameterEvent>;

/**
 * Answers "these chunks are needed now" with evictions and fetches: for the first step, which nobody has traced, and for steps that
 * depart from their plan. It only decides; the runner moves the bytes and reports back. Every move goes through the table
 * of states. Slots of several sizes are used best fit first.
 */
export class ReactiveScheduler {
  readonly #options: ReactiveOptions;
  readonly #policy: VictimPolicy;
  readonly #copies = new Map<number, Copy>();
  readonly #slotOf = new Map<number, Slot>();
  readonly #occupant = new Map<SlotId, number>();
  #clock = 0;

  constructor(options: ReactiveOptions) {
    this.#options = { ...options, slots: [...options.slots].sort((a, b) => a.bytes - b.bytes || a.id - b.id) };
    this.#policy = options.policy ?? lruPolicy(options.parameterBytes.length);
  }

  state(chunk: ChunkId): ParameterState {
    return this.#copies.get(chunk)?.state ?? 'absent';
  }

  /** Where the chunk's copy lies, or null. */
  slot(chunk: ChunkId): SlotId | null {
    return this.#slotOf.get(chunk)?.id ?? null;
  }

  /**
   * Chunks that one unit needs together. Those already there are pinned at once, the others when they `arrive`.
   * Throws `E_OUT_OF_MEMORY` when they cannot all be there at once.
   */
  need(chunks: readonly ChunkId[]): ReactiveAction[] {
    const moment = this.#clock++;
    const wanted = new Set<number>(chunks);
    for (const chunk of chunks) {
      this.#policy.touch(chunk, moment);
      if (this.state(chunk) === 'resident' || this.state(chunk) === 'inUse') this.#copy(chunk).move('pin');
    }
    const actions: ReactiveAction[] = [];
    this.#freeLargerSlots(chunks, actions);
    // Large ones first: small ones fit anywhere.
    const missing = chunks.filter((chunk) => !this.#slotOf.has(chunk));
    for (const chunk of missing.sort((a, b) => this.#bytes(b) - this.#bytes(a))) {
      const slot = this.#makeRoom(chunk, wanted, moment, actions);
      this.#copy(chunk).move('fetch');
      this.#slotOf.set(chunk, slot);
      this.#occupant.set(slot.id, chunk);
      actions.push({ kind: 'fetch', chunk, slot: slot.id });
    }
    return actions;
  }

  /** The fetch of `chunk` is complete; it is pinned for the unit that asked. */
  arrived(chunk: ChunkId): void {
    this.#copy(chunk).move('arrive');
    this.#copy(chunk).move('pin');
  }

  /** The unit is done with its chunks. */
  release(chunks: readonly ChunkId[]): void {
    for (const chunk of chunks) if (this.state(chunk) === 'inUse') this.#copy(chunk).move('unpin');
  }

  /** The slot of `chunk` now holds its gradient, which is on its way out. */
  becomeGradient(chunk: ChunkId): void {
    this.#copy(chunk).move('becomeGradient');
    this.#copy(chunk).move('leave');
  }

  /** The gradient has arrived below: the slot is free. */
  gradientLeft(chunk: ChunkId): void {
    this.#copy(chunk).move('left');
    this.#forget(chunk);
  }

  /** Gives every unpinned copy up: a plan takes over, or the parameters have changed. */
  dropAll(): ReactiveAction[] {
    const idle = [...this.#slotOf].filter(([chunk]) => this.state(chunkId(chunk)) === 'resident');
    return idle.map(([chunk, slot]) => {
      this.#copy(chunk).move('drop');
      this.#forget(chunk);
      return { kind: 'drop', chunk: chunkId(chunk), slot: slot.id };
    });
  }

  #bytes(chunk: number): number {
    const bytes = this.#options.parameterBytes[chunk];
    invariant(bytes !== undefined, `chunk ${chunk} has no size`);
    return bytes;
  }

  /** A chunk that sits in a larger slot than it needs must not keep a larger chunk of the same unit out: it moves. */
  #freeLargerSlots(chunks: readonly ChunkId[], actions: ReactiveAction[]): void {
    const missing = chunks.filter((chunk) => !this.#slotOf.has(chunk)).map((chunk) => this.#bytes(chunk));
    for (const chunk of chunks) {
      const slot = this.#slotOf.get(chunk);
      const enough = this.#options.slots.find(({ bytes }) => bytes >= this.#bytes(chunk))!;
      const blocks = missing.some((bytes) => bytes > enough.bytes);
      if (slot === undefined || slot.bytes === enough.bytes || !blocks || this.state(chunk) !== 'inUse') continue;
      this.#copy(chunk).move('unpin');
      this.#evict(chunk, actions);
    }
  }

  #makeRoom(chunk: ChunkId, wanted: ReadonlySet<number>, moment: number, actions: ReactiveAction[]): Slot {
    const bytes = this.#bytes(chunk);
    const fitting = this.#options.slots.filter((slot) => slot.bytes >= bytes);
    const free = fitting.find((slot) => !this.#occupant.has(slot.id));
    if (free !== undefined) return free;
    const occupied = fitting.map((slot) => [slot, this.#occupant.get(slot.id)!] as const);
    const idle = occupied.filter(([, other]) => !wanted.has(other) && this.state(chunkId(other)) === 'resident');
    if (idle.length > 0) {
      const smallest = Math.min(...idle.map(([slot]) => slot.bytes));
      const candidates = idle.filter(([slot]) => slot.bytes === smallest).map(([, other]) => other);
      return this.#evict(chunkId(this.#policy.victim(candidates, moment)), actions);
    }
    const leaving = occupied.find(([, other]) => this.state(chunkId(other)) === 'leaving');
    if (leaving !== undefined) {
      const [slot, other] = leaving;
      actions.push({ kind: 'await', chunk: chunkId(other), slot: slot.id });
      this.#copy(other).move('left');
      this.#forget(other);
      return slot;
    }
    const had = formatBytes(this.#options.slots.reduce((sum, slot) => sum + slot.bytes, 0));
    throw new TierraError(
      'E_OUT_OF_MEMORY',
      `gpu: no slot for chunk ${chunk} (${formatBytes(bytes)}): all ${had} are in use by this unit`,
      {
        hint: 'Raise memory.gpu, or use smaller chunks.',
        details: { chunk, needBytes: bytes },
      },
    );
  }

  #evict(chunk: ChunkId, actions: ReactiveAction[]): Slot {
    const slot = this.#slotOf.get(chunk)!;
    this.#copy(chunk).move('drop');
    this.#forget(chunk);
    actions.push({ kind: 'drop', chunk, slot: slot.id });
    return slot;
  }

  #forget(chunk: number): void {
    const slot = this.#slotOf.get(chunk);
    if (slot !== undefined) this.#occupant.delete(slot.id);
    this.#slotOf.delete(chunk);
    this.#policy.forget(chunk);
  }

  #copy(chunk: number): Copy {
    const copy = this.#copies.get(chunk) ?? new ChunkCopy(parameterTable, `chunk ${chunk} on gpu`, 'absent');
    this.#copies.set(chunk, copy);
    return copy;
  }
}
