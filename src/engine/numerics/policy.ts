/** What to do about steps with infinite or NaN numbers: pure counting, no tensors. */

export type NonFiniteAction = 'stop' | 'skip' | 'rewind';

export interface NonFiniteSettings {
  readonly action: NonFiniteAction;
  /** Bad steps in a row that are borne; the next one stops the run. */
  readonly limit: number;
}

export class NonFinitePolicy {
  readonly #settings: NonFiniteSettings;
  #inARow = 0;
  #total = 0;

  constructor(settings: NonFiniteSettings) {
    this.#settings = settings;
  }

  /** Bad steps since the last good one. A rewind is no good step, and those it makes again are none either: see `good`. */
  get inARow(): number {
    return this.#inARow;
  }

  /** Bad steps of this process. */
  get total(): number {
    return this.#total;
  }

  good(): void {
    this.#inARow = 0;
  }

  /** A bad step happened: what now? */
  bad(): NonFiniteAction {
    this.#inARow++;
    this.#total++;
    return this.#inARow > this.#settings.limit ? 'stop' : this.#settings.action;
  }
}
