/**
 * Inputs of units, parked in host memory or on disk between forward and backward. Bytes leave behind the forward pass and
 * come back ahead of the backward pass, by tickets beside those of the plan.
 */
import { isTierraError } from '../../core/errors.ts';
import {
  type ParkingNeed,
  parkedBytes,
  parkingBytes,
  parkingDepth,
  parkingStages,
  Region,
} from '../../memory/index.ts';
import type { ArenaId, SwapId, Ticket, TicketId } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import type { Tensor } from '../../tensor/index.ts';
import { PendingRanges } from './pendingRanges.ts';

/** Where tickets go: an executor that other tickets use too. */
export interface ParkingLanes {
  nextId(): TicketId;
  submit(tickets: readonly Ticket[]): void;
  /** Returns when the ticket is done; on a GPU, when compute is made to wait for it. */
  wait(ticket: TicketId): void;
  /** The newest moment, covering all compute so far; -1 before any. */
  mark(): number;
}

/** Bytes of the tiers that belong to parked tensors alone. */
export interface ParkingPlace {
  readonly arena: ArenaId;
  /** Of the region in host memory, or of the staging slots. */
  readonly offset: number;
  readonly swap: SwapId | null;
  readonly swapOffset: number;
}

interface Parked {
  readonly tensor: Tensor;
  /** Which of the step's tensors, as they were parked. */
  readonly index: number;
  readonly bytes: number;
  readonly offset: number;
  /** When this is done the bytes are there. */
  readonly ticket: TicketId;
  coming: Coming | null;
}

/** On its way back, in bytes of its own until the tensor takes them. */
interface Coming {
  readonly arena: ArenaId;
  readonly ticket: TicketId;
  /** The ticket that reads the region. */
  readonly reader: TicketId;
}

export class Parking {
  readonly #need: ParkingNeed;
  readonly #place: ParkingPlace;
  readonly #lanes: ParkingLanes;
  /** Stamped on what goes to disk, as if it were a chunk. */
  readonly #firstChunk: number;
  #region: Region;
  /** Who still reads or writes a range that was given back. */
  readonly #pending = new PendingRanges();
  readonly #parked = new Map<Tensor, Parked>();
  /** Copies that leave the GPU, oldest first: their bytes are there until they are done. */
  #leaving: TicketId[] = [];
  /** By staging slot, the ticket that empties it; slots are taken in turn. */
  #stages: (TicketId | null)[] = [];
  #turn = 0;
  /** The order in which the last complete step brought tensors back, by index. */
  #expected: readonly number[] | null = null;
  #order: number[] = [];
  #count = 0;
  #step = 0;
  #unmoved = 0;

  constructor(need: ParkingNeed, place: ParkingPlace, lanes: ParkingLanes, firstChunk: number) {
    this.#need = need;
    this.#place = place;
    this.#lanes = lanes;
    this.#firstChunk = firstChunk;
    this.#region = new Region(need.regionBytes);
  }

  /** Tensors that found no room and stayed where they were, since the start. */
  get unmoved(): number {
    return this.#unmoved;
  }

  beginStep(step: number): void {
    this.#step = step;
    this.#count = 0;
    this.#order = [];
  }

  /** Moves the tensor's bytes away; one that finds no room stays. */
  park(tensor: Tensor): void {
    const index = this.#count++;
    for (const entry of [...this.#parked.values()]) if (entry.tensor.isDisposed) this.#drop(entry);
    const bytes = native().info(tensor.handle).storageBytes;
    const size = parkedBytes(this.#need.tier, bytes);
    const offset = bytes === 0 || bytes > this.#need.largestBytes ? null : this.#region.take(size);
    if (offset === null) {
      this.#unmoved++;
      return;
    }
    if (this.#leaving.length >= parkingDepth) this.#lanes.wait(this.#leaving.shift()!);
    const arena = native().storageTake(tensor.handle);
    try {
      const ticket = this.#leave(arena, bytes, offset, index);
      this.#parked.set(tensor, { tensor, index, bytes, offset, ticket, coming: null });
    } finally {
      native().storageLetGo(arena);
    }
  }

  #leave(arena: ArenaId, bytes: number, offset: number, index: number): TicketId {
    const { tier } = this.#need;
    const before = this.#pending.take(offset, parkedBytes(tier, bytes));
    const out = this.#lanes.nextId();
    const shape = { chunk: this.#firstChunk + index, bytes, afterCell: -1, cause: 'activation' };
    const target = { target: this.#place.arena, targetOffset: this.#place.offset + offset };
    const copy = { ...shape, id: out, lane: 'toHost', source: arena, sourceOffset: 0, step: this.#step } as const;
    const afterMoment = this.#lanes.mark();
    this.#leaving.push(out);
    if (tier === 'host') {
      this.#lanes.submit([{ ...copy, ...target, after: before, afterMoment }]);
      return out;
    }
    const write = this.#lanes.nextId();
    const stage = this.#stage(write);
    const staged = { target: this.#place.arena, targetOffset: stage.offset };
    this.#lanes.submit([
      { ...copy, ...staged, after: stage.after, afterMoment },
      { ...this.#disk(shape, offset, stage.offset), id: write, lane: 'write', after: [out, ...before] },
    ]);
    return write;
  }

  #disk(shape: { readonly chunk: number; readonly bytes: number; readonly cause: string }, offset: number, at: number) {
    const { swap, swapOffset, arena } = this.#place;
    const place = { swap: swap!, swapOffset: swapOffset + offset, arena, arenaOffset: at };
    return { ...shape, ...place, step: this.#step + 1, afterMoment: -1, afterCell: -1 };
  }

  /** The next staging slot, which `ticket` will empty, and who has to be done with it first. */
  #stage(ticket: TicketId): { readonly offset: number; readonly after: readonly TicketId[] } {
    const slot = this.#turn++ % parkingStages;
    const before = this.#stages[slot] ?? null;
    this.#stages[slot] = ticket;
    return { offset: this.#place.offset + slot * this.#need.largestBytes, after: before === null ? [] : [before] };
  }

  /** Brings parked bytes back, and sends for those that come next. */
  unpark(tensor: Tensor): void {
    const entry = this.#parked.get(tensor);
    if (entry === undefined) return;
    const { arena, ticket, reader } = entry.coming ?? this.#fetch(entry);
    this.#lanes.wait(ticket);
    this.#parked.delete(tensor);
    native().storageGive(tensor.handle, arena);
    this.#release(entry, [reader]);
    this.#order.push(entry.index);
    this.ahead();
  }

  /** Sends for what is needed next, as far as the GPU has room for it. */
  ahead(): void {
    if (this.#parked.size === 0) return;
    for (const ticket of this.#leaving.splice(0)) this.#lanes.wait(ticket);
    const next = this.#nextOnes();
    for (const entry of next.slice(0, parkingDepth)) {
      if (entry.coming !== null) continue;
      try {
        this.#fetch(entry);
      } catch (error) {
        // Too early for the memory there is: it comes when it is needed.
        if (isTierraError(error, 'E_OUT_OF_MEMORY')) return;
        throw error;
      }
    }
  }

  /** Parked tensors in the order in which the last step needed them; in the first step, the last one first. */
  #nextOnes(): Parked[] {
    const parked = [...this.#parked.values()];
    const expected = this.#expected;
    if (expected === null) return parked.reverse();
    const position = new Map(expected.map((index, turn) => [index, turn]));
    const turnOf = ({ index }: Parked): number => position.get(index) ?? Number.POSITIVE_INFINITY;
    return parked.sort((a, b) => turnOf(a) - turnOf(b));
  }

  #fetch(entry: Parked): Coming {
    const { tensor, bytes, offset, index, ticket } = entry;
    const arena = native().storageMake(tensor.handle, bytes);
    const shape = { chunk: this.#firstChunk + index, bytes, afterCell: -1, cause: 'activation' };
    const copy = { ...shape, lane: 'toDevice', target: arena, targetOffset: 0, step: this.#step } as const;
    const afterMoment = this.#lanes.mark();
    const first = this.#lanes.nextId();
    if (this.#need.tier === 'host') {
      const source = { source: this.#place.arena, sourceOffset: this.#place.offset + offset };
      this.#lanes.submit([{ ...copy, ...source, id: first, after: [ticket], afterMoment }]);
      entry.coming = { arena, ticket: first, reader: first };
      return entry.coming;
    }
    const back = this.#lanes.nextId();
    const stage = this.#stage(back);
    const source = { source: this.#place.arena, sourceOffset: stage.offset };
    const after = [ticket, ...stage.after];
    this.#lanes.submit([
      { ...this.#disk(shape, offset, stage.offset), id: first, lane: 'read', after },
      { ...copy, ...source, id: back, after: [first], afterMoment },
    ]);
    entry.coming = { arena, ticket: back, reader: first };
    return entry.coming;
  }

  /** The tensor is not needed any more. */
  #drop(entry: Parked): void {
    this.#parked.delete(entry.tensor);
    if (entry.coming !== null) native().storageLetGo(entry.coming.arena);
    this.#release(entry, entry.coming === null ? [entry.ticket] : [entry.ticket, entry.coming.reader]);
  }

  #release({ offset, bytes }: Parked, users: readonly TicketId[]): void {
    this.#region.give(offset);
    this.#pending.give(offset, parkedBytes(this.#need.tier, bytes), users);
  }

  /** The step is over (`complete`), or dropped. */
  endStep(complete: boolean): void {
    for (const entry of [...this.#parked.values()]) this.#drop(entry);
    if (complete) this.#expected = this.#order;
  }

  /** The executor that the tickets went to is gone, and they with it. */
  reset(): void {
    this.endStep(false);
    this.#region = new Region(this.#need.regionBytes);
    this.#pending.clear();
    this.#leaving = [];
    this.#stages = [];
  }

  /** Bytes taken on each tier. */
  get bytes(): { readonly gpu: number; readonly host: number; readonly nvme: number } {
    return parkingBytes(this.#need);
  }
}
