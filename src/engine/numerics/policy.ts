/** What to do about steps with infinite or NaN numbers: pure counting, no tensors. */

export type NonFiniteAction = 'stop' | 'skip' | 'rewind';

export interface NonFiniteSettings {
  readonly action: NonFiniteAction;
  /** Bad steps in a row that are borne; one more stops the run. */
  readonly limit: number;
}

export class NonFinitePolicy {
  readonly #settings: NonFiniteSettings;
  #inARow = 0;
  #total = 0;
  #lastBad = -1;

  constructor(settings: NonFiniteSettings) {
    this.#settings = settings;
  }

  /** Bad steps since the last good one that lies behind them. */
  get inARow(): number {
    return this.#inARow;
  }

  /** All bad steps so far. */
  get total(): number {
    return this.#total;
  }

  /** Steps that a rewind makes again are no news: only what lies behind the last bad step ends a row. */
  good(step: number): void {
    if (step > this.#lastBad) this.#inARow = 0;
  }

  /** What to do about bad step `step`. */
  bad(step: number): NonFiniteAction {
    this.#inARow++;
    this.#total++;
    this.#lastBad = Math.max(this.#lastBad, step);
    return this.#inARow > this.#settings.limit ? 'stop' : this.#settings.action;
  }
}
