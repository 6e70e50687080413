/**
 * Whether updates should guess, before the norm is known, that nothing will be clipped. A wrong guess is made again, which
 * costs time and never a bit; so the last steps decide.
 */
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
