/** Checkpoints of plain tensors in RAM, behind training: an executor of their own carries the bytes. */
import type { ExecutorId, TicketId } from '../../native/binding.ts';
import { native } from '../../native/load.ts';
import type { Tensor } from '../../tensor/index.ts';
import { ExecutorSave, type RunningSave, type SaveRequest, saveTickets } from '../saving.ts';

export class ResidentSaves {
  #executor: ExecutorId | null = null;
  #nextId = 1;
  #save: ExecutorSave | null = null;
  #copies: readonly TicketId[] = [];

  begin(tensors: readonly Tensor[], request: SaveRequest): RunningSave {
    this.settle();
    const options = { device: -1, updateThreads: 1, scaleCells: 1, timelineCapacity: 1 };
    this.#executor ??= native().executorCreate(options);
    const blocks = tensors.map(({ handle, bytes }, index) => ({
      source: { from: 'tensor' as const, tensor: handle },
      chunk: index,
      bytes,
      tensors: [{ index, offset: 0, bytes }],
      after: [],
    }));
    const { tickets, copies, last } = saveTickets(blocks, request, () => this.#nextId++ as TicketId);
    native().submit(this.#executor, tickets);
    this.#copies = copies.flat();
    this.#save = new ExecutorSave(this.#executor, last);
    return this.#save;
  }

  /** Before the tensors are overwritten. */
  awaitCopies(): void {
    this.#save?.await(this.#copies);
    this.#copies = [];
  }

  /** Waits until nothing is read or written any more. */
  settle(): void {
    this.#save?.settle();
    this.#copies = [];
  }

  dispose(): void {
    if (this.#executor !== null) native().executorDestroy(this.#executor);
    this.#executor = null;
    this.#copies = [];
  }
}
