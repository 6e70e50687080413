/**
 * Keyed randomness: (seed, step, micro-batch, unit, use) gives the generator state of one unit call. Recomputation,
 * vertical order, placement and resuming therefore see the same numbers, with or without a tape.
 */
import { mixIntegers } from '../core/hash.ts';
import type { DeviceName } from '../native/binding.ts';
import { native } from '../native/load.ts';
import type { Unit } from './unit.ts';

export interface RandomKey {
  readonly seed: number;
  readonly step: number;
  readonly microBatch: number;
  readonly unit: number;
  readonly use: number;
}

export class RandomKeys {
  #seed = 0;
  #step = 0;
  #microBatch = 0;
  /** Calls so far, by micro-batch and unit. */
  readonly #uses = new Map<number, Map<number, number>>();
  /** What the generator was last put to for a unit, and how often it went apart since; null where the unit draws nothing. */
  #state: bigint | null = null;
  #apart = 0;
  /** The device whose default generator is keyed. */
  device: DeviceName = 'cpu';

  /** Starts micro-batch `microBatch` of `step`: its uses count from 0 again. */
  begin(position: { readonly seed: number; readonly step: number; readonly microBatch: number }): void {
    this.#seed = position.seed;
    this.#step = position.step;
    this.#uses.set(position.microBatch, new Map());
    this.select(position.microBatch);
  }

  /** Goes on with a micro-batch that was begun: in the vertical order they take turns. */
  select(microBatch: number): void {
    this.#microBatch = microBatch;
  }

  /** The key of the unit's next call in this micro-batch. */
  next(unit: Unit): RandomKey {
    const uses = this.#uses.get(this.#microBatch) ?? new Map<number, number>();
    const use = uses.get(unit.index) ?? 0;
    uses.set(unit.index, use + 1);
    this.#uses.set(this.#microBatch, uses);
    return { seed: this.#seed, step: this.#step, microBatch: this.#microBatch, unit: unit.index, use };
  }

  /** Puts the generator into the state of `key`, if the unit draws random numbers at all. */
  apply(unit: Unit, key: RandomKey): void {
    this.#state = null;
    if (!unit.module.training || !drawsRandom(unit)) return;
    this.#state = mixIntegers(key.seed, key.step, key.microBatch, key.unit, key.use);
    this.#apart = 0;
    native().seed(this.device, this.#state);
  }

  /**
   * Inside a unit: `body` draws numbers of branch `branch`'s own, and afterwards all branches go on with the same ones. For what
   * ranks have different parts of, between what they have copies of.
   */
  apart<Result>(branch: number, body: () => Result): Result {
    if (this.#state === null) return body();
    const number = ++this.#apart;
    const stateOf = (of: number): bigint => mixIntegers(Number(BigInt.asIntN(53, this.#state!)), number, of);
    native().seed(this.device, stateOf(branch + 1));
    try {
      return body();
    } finally {
      native().seed(this.device, stateOf(0));
    }
  }
}

const draws = new WeakMap<Unit, boolean>();

function drawsRandom(unit: Unit): boolean {
  let known = draws.get(unit);
  if (known === undefined) {
    known = Array.from(unit.module.namedModules()).some(([, module]) => module.drawsRandom);
    draws.set(unit, known);
  }
  return known;
}

/** The keys of the running process: one training loop at a time. */
export const randomKeys = new RandomKeys();
