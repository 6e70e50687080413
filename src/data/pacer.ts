import { setImmediate as nextTurn } from 'node:timers/promises';
import { TierraError } from '../core/errors.ts';
import { formatCount } from '../core/units.ts';

const turnMs = 50;
const noteMs = 10_000;

export interface PacerOptions {
  readonly note: (text: string) => void;
  /** Called many times a minute while the work goes on. */
  readonly alive: () => void;
  readonly signal: AbortSignal | undefined;
}

/** Keeps long tokenizing polite: lets other work in between, tells how far it is, stops on request. */
export class Pacer {
  readonly #options: PacerOptions;
  #tokens = 0;
  #turnAt = Date.now();
  #noteAt = Date.now();

  constructor(options: PacerOptions) {
    this.#options = options;
  }

  /** To be called after every piece of work; a promise only where there is something to wait for. */
  worked(tokens: number): Promise<void> | null {
    this.#tokens += tokens;
    const now = Date.now();
    if (now - this.#turnAt < turnMs) return null;
    return this.#turn(now);
  }

  /** @throws E_INTERRUPTED when the signal was given in the meantime */
  async #turn(now: number): Promise<void> {
    const { note, alive, signal } = this.#options;
    alive();
    if (now - this.#noteAt >= noteMs) {
      this.#noteAt = now;
      note(`tokenized ${formatCount(this.#tokens)} tokens so far`);
    }
    await nextTurn();
    if (signal?.aborted) {
      throw new TierraError('E_INTERRUPTED', `tokenizing was stopped after ${formatCount(this.#tokens)} tokens`, {
        hint: 'It starts from the beginning next time.',
      });
    }
    this.#turnAt = Date.now();
  }
}
