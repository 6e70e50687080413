/**
 * Whether updates should guess, before the norm is known, that nothing will be clipped. A wrong guess is made again, which
 * costs time and never a bit; so the last steps decide.
 */
import type { ChunkId, Plan, TicketId, UpdateMode } from '../../memory/index.ts';

/** Steps that are remembered. */
const memory = 8;

export class Guessing {
  readonly #always: boolean;
  /** Newest last: whether the guess would have been right. */
  #right: boolean[] = [];
  #guessed = 0;
  #waited = 0;
  #redone = 0;

  constructor(policy: 'auto' | 'always' | 'never') {
    this.#always = policy !== 'auto';
  }

  /** Guess, unless most of the last steps were clipped. */
  get shallGuess(): boolean {
    return this.#always || 2 * this.#right.filter((right) => !right).length <= this.#right.length;
  }

  /** A step is over in which `shallGuess` was followed. */
  ended(guessed: boolean, isRight: boolean): void {
    this.#right = [...this.#right.slice(1 - memory), isRight];
    if (!guessed) this.#waited++;
    else if (isRight) this.#guessed++;
    else this.#redone++;
  }

  /** Steps so far by what became of their guess. */
  get counts(): GuessCounts {
    return { right: this.#guessed, redone: this.#redone, waited: this.#waited };
  }
}

export interface GuessCounts {
  readonly right: number;
  /** Guessed wrongly: updates were made twice. */
  readonly redone: number;
  /** Not guessed: updates waited for the norm. */
  readonly waited: number;
}

/** Modes in which a chunk's new parameter may be made before the norm is known. */
export const guesses = (update: UpdateMode): boolean => update === 'speculated' || update === 'previewed';

/** Chunks whose speculated update may also wait for the norm: nothing before the norm needs a slot that it empties. */
export function mayWait({ tickets, moments, chunks }: Plan): ReadonlySet<ChunkId> {
  const norm = moments.findIndex(({ pass }) => pass === 'norm');
  const needed = new Uint8Array(tickets.length);
  const open: TicketId[] = moments.slice(0, norm + 1).flatMap(({ waits }) => waits);
  while (open.length > 0) {
    const id = open.pop()!;
    if (needed[id] === 1) continue;
    needed[id] = 1;
    open.push(...tickets[id]!.after);
  }
  const early = new Set(
    tickets
      .filter(({ id, lane, cause }) => lane === 'update' && cause !== 'accumulate' && needed[id] === 1)
      .map(({ chunk }) => chunk),
  );
  return new Set(chunks.filter(({ chunk, update }) => guesses(update) && !early.has(chunk)).map(({ chunk }) => chunk));
}
