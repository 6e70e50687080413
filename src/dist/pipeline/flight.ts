/** What one (stage, micro-batch) holds between its forward and the end of its backward. */
import { invariant } from '../../core/errors.ts';
import type { Tape } from '../../nn/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import type { TensorForm } from './messages.ts';

export interface Flight {
  readonly tape: Tape;
  /** What the stage before made; null for the first stage. Only its identity counts: the tape keeps the bytes. */
  readonly input: { readonly tensor: Tensor; readonly form: TensorForm } | null;
  /** What this stage made: its identity, and for the last stage the loss. */
  readonly output: Tensor;
}

/** Things by (stage, micro-batch). */
export class Shelf<Item> {
  readonly #what: string;
  readonly #items = new Map<string, Item>();

  constructor(what: string) {
    this.#what = what;
  }

  put(stage: number, microBatch: number, item: Item): void {
    this.#items.set(`${stage}.${microBatch}`, item);
  }

  get(stage: number, microBatch: number): Item {
    const item = this.#items.get(`${stage}.${microBatch}`);
    invariant(item !== undefined, `pipeline: no ${this.#what} of stage ${stage}, micro-batch ${microBatch}`);
    return item;
  }

  take(stage: number, microBatch: number): Item {
    const item = this.get(stage, microBatch);
    this.#items.delete(`${stage}.${microBatch}`);
    return item;
  }

  clear(free: (item: Item) => void): void {
    for (const item of this.#items.values()) free(item);
    this.#items.clear();
  }
}
