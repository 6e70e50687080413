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
    if (!unit.module.training || !drawsRandom(unit)) return;
    native().seed(this.device, mixIntegers(key.seed, key.step, key.microBatch, key.unit, key.use));
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
