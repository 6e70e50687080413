/**
 * Which unit comes next. A step touches the same units in the same order every time: the order of the last whole step is
 * that of this one, as long as it has been followed so far.
 */
import type { Pass } from '../../nn/index.ts';

export interface Visit {
  readonly unit: number;
  readonly pass: Pass;
}

export class StepOrder {
  #known: readonly Visit[] = [];
  #seen: Visit[] = [];
  #followed = true;

  begin(): void {
    this.#seen = [];
    this.#followed = true;
  }

  /** Takes note of a visit and returns the one expected after it, or null. */
  visit(unit: number, pass: Pass): Visit | null {
    const expected = this.#known[this.#seen.length];
    if (expected?.unit !== unit || expected.pass !== pass) this.#followed = false;
    this.#seen.push({ unit, pass });
    return this.#followed ? (this.#known[this.#seen.length] ?? null) : null;
  }

  /** The step is complete: the next one is expected to be like it. */
  end(): void {
    this.#known = this.#seen;
    this.#seen = [];
  }
}
