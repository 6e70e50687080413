/**
 * A checkpoint's bytes on their way to files, behind training.
 *
 * The bytes of a state at step N are copied from where they rest into a bounded buffer (`stage`, or a read from disk, or a
 * copy from the GPU), and from there hashed and appended to files (`save`). Whoever overwrites a resting place in step N+1
 * waits for its copy, so a checkpoint is exactly of its step; when the buffer is full, copies wait for the disk, and
 * training with them. Buffer and files are all there is: no second model in memory.
 */
import type {
  AppendFileId,
  ArenaId,
  ExecutorId,
  SavePiece,
  SwapId,
  TensorHandle,
  Ticket,
  TicketId,
} from '../native/binding.ts';
import { native } from '../native/load.ts';
import type { Parameter } from '../nn/index.ts';
import type { Dtype } from '../tensor/index.ts';
import type { StateKind } from './store.ts';

/** One tensor of a checkpoint. */
export interface SaveTensor {
  readonly parameter: Parameter;
  readonly kind: StateKind;
  readonly dtype: Dtype;
  /** Absent: the parameter's. */
  readonly shape?: readonly number[];
  readonly bytes: number;
}

/** A ring of equal slots in a host arena. */
export interface Staging {
  readonly arena: ArenaId;
  readonly slotBytes: number;
  readonly slots: number;
}

export interface SaveRequest {
  /** By tensor, in the store's order: the file that its bytes are appended to. */
  readonly fileOf: readonly AppendFileId[];
  /** Flushed and finished after the last byte. */
  readonly files: readonly AppendFileId[];
  readonly staging: Staging;
}

export interface RunningSave {
  /** Every byte is in its file, and the files are flushed (or have failed). Throws when bytes could not be read. */
  isDone(): boolean;
  /** Blocks until then. */
  wait(): void;
  /** Milliseconds that training stood still for copies so far; where only transfers waited, the wait shows as theirs. */
  readonly blockedMs: number;
}

/** What a store can hand out behind training, or why it cannot. */
export interface SaveOrder {
  /** In the order in which their bytes are appended. */
  readonly tensors: readonly SaveTensor[];
  /** Bytes that one slot of the buffer must have. */
  readonly leastSlotBytes: number;
}

export type SaveSource =
  | { readonly from: 'arena'; readonly arena: ArenaId; readonly offset: number }
  | { readonly from: 'gpu'; readonly arena: ArenaId; readonly offset: number; readonly afterMoment: number }
  | { readonly from: 'tensor'; readonly tensor: TensorHandle }
  | { readonly from: 'disk'; readonly swap: SwapId; readonly swapOffset: number; readonly stamp: number };

/** Bytes that lie together, and which tensors they are. */
export interface SaveBlock {
  readonly source: SaveSource;
  readonly chunk: number;
  readonly bytes: number;
  /** Ascending: index in the store's order, and where the tensor's bytes are in the block. */
  readonly tensors: readonly { readonly index: number; readonly offset: number; readonly bytes: number }[];
  /** What must have happened before the bytes are those of the step. */
  readonly after: readonly TicketId[];
}

export interface SaveTickets {
  readonly tickets: readonly Ticket[];
  /** By block: its bytes may be overwritten when these are done. */
  readonly copies: readonly (readonly TicketId[])[];
  readonly last: TicketId;
}

/** Blocks become tickets: copies through the ring's slots in turn, appended to the files in order. */
export function saveTickets(
  blocks: readonly SaveBlock[],
  { fileOf, files, staging }: SaveRequest,
  nextId: () => TicketId,
): SaveTickets {
  const tickets: Ticket[] = [];
  const copies: TicketId[][] = [];
  const saves: TicketId[] = [];
  const common = { afterMoment: -1, afterCell: -1, cause: 'checkpoint', step: 0 };
  for (const block of blocks) {
    const { chunk, tensors } = block;
    const mine: TicketId[] = [];
    copies.push(mine);
    // What lies on disk is checked as a whole, so it is read as a whole.
    const windowBytes = block.source.from === 'disk' ? block.bytes : staging.slotBytes;
    for (let begin = 0; begin < block.bytes; begin += windowBytes) {
      const bytes = Math.min(windowBytes, block.bytes - begin);
      const slot = (saves.length % staging.slots) * staging.slotBytes;
      const pieces = tensors.flatMap(({ index, offset, bytes: size }): SavePiece[] => {
        const [from, to] = [Math.max(offset, begin), Math.min(offset + size, begin + bytes)];
        return from < to ? [{ file: fileOf[index]!, offset: slot + from - begin, bytes: to - from }] : [];
      });
      if (pieces.length === 0) continue;
      const before = saves[saves.length - staging.slots];
      const copy = nextId();
      const after = before === undefined ? block.after : [...block.after, before];
      tickets.push(copyTicket(block.source, { ...common, id: copy, after, chunk }, { begin, bytes, slot, staging }));
      mine.push(copy);
      const id = nextId();
      const inOrder = saves.length === 0 ? [copy] : [copy, saves.at(-1)!];
      tickets.push({ ...common, lane: 'save', id, after: inOrder, chunk, arena: staging.arena, pieces, finish: [] });
      saves.push(id);
    }
  }
  const last = nextId();
  const after = saves.slice(-1);
  tickets.push({ ...common, lane: 'save', id: last, after, chunk: 0, arena: staging.arena, pieces: [], finish: files });
  return { tickets, copies, last };
}

interface Common {
  readonly id: TicketId;
  readonly after: readonly TicketId[];
  readonly afterMoment: number;
  readonly afterCell: number;
  readonly cause: string;
  readonly chunk: number;
  readonly step: number;
}

function copyTicket(
  source: SaveSource,
  common: Common,
  { begin, bytes, slot, staging }: { begin: number; bytes: number; slot: number; staging: Staging },
): Ticket {
  const target = { target: staging.arena, targetOffset: slot, bytes };
  switch (source.from) {
    case 'arena':
      return { ...common, lane: 'stage', source: source.arena, sourceOffset: source.offset + begin, ...target };
    case 'tensor':
      return { ...common, lane: 'stage', tensor: source.tensor, sourceOffset: begin, ...target };
    case 'gpu': {
      const from = { source: source.arena, sourceOffset: source.offset + begin };
      return { ...common, lane: 'toHost', afterMoment: source.afterMoment, ...from, ...target };
    }
    case 'disk': {
      const { swap, swapOffset, stamp: step } = source;
      return { ...common, lane: 'read', swap, swapOffset, arena: staging.arena, arenaOffset: slot, bytes, step };
    }
  }
}

/** A save under way on an executor, which may be thrown away once the save is done or given up. */
export class ExecutorSave implements RunningSave {
  readonly #executor: ExecutorId;
  readonly #last: TicketId;
  blockedMs = 0;
  #outcome: 'running' | 'done' | { readonly failure: unknown } = 'running';

  constructor(executor: ExecutorId, last: TicketId) {
    this.#executor = executor;
    this.#last = last;
  }

  /** Waits for copies that something is about to overwrite. */
  await(copies: readonly TicketId[]): void {
    if (copies.length > 0) this.blockedMs += native().wait(this.#executor, copies, 'checkpoint');
  }

  isDone(): boolean {
    if (this.#outcome === 'running') this.#keep(() => native().isDone(this.#executor, this.#last));
    if (typeof this.#outcome === 'object') throw this.#outcome.failure;
    return this.#outcome === 'done';
  }

  wait(): void {
    this.settle();
    this.isDone();
  }

  /** Blocks until nothing of it moves any more; how it ended is for `isDone` to say. */
  settle(): void {
    if (this.#outcome !== 'running') return;
    this.#keep(() => {
      this.await([this.#last]);
      return true;
    });
  }

  #keep(isOver: () => boolean): void {
    try {
      if (isOver()) this.#outcome = 'done';
    } catch (failure) {
      this.#outcome = { failure };
    }
  }
}
