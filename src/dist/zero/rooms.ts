/**
 * Where gathered parameters lie on the compute device. A room is so many bytes, taken once; a unit's flats get places in it
 * and stay there until their place is needed or their values are old.
 */
import type { Unit } from '../../nn/index.ts';
import { type Flat, gatheredElements } from './flats.ts';

export interface Seat {
  /** Byte offset of each of the unit's flats. */
  readonly offsets: ReadonlyMap<Flat, number>;
  /** What is not there and has to be gathered now. */
  readonly missing: readonly Flat[];
}

export interface Room {
  readonly bytes: number;
  /** Places for a unit, without touching those of `beside`; null when both do not fit. */
  enter(unit: number, beside: number | null): Seat | null;
  /** Whether `enter` would find places. */
  fits(unit: number, beside: number): boolean;
  /** All values are old. */
  empty(): void;
}

export interface RoomOptions {
  /** In the order of the model. */
  readonly units: readonly Unit[];
  readonly flatsOf: (unit: number) => readonly Flat[];
  /** Ranks that hold a flat. */
  readonly ranksOf: (flat: Flat) => number;
  readonly elementBytes: number;
}

/** Every flat has its place: gathered once, used until the values change. */
export class WholeRoom implements Room {
  readonly bytes: number;
  readonly #offsets = new Map<Flat, number>();
  readonly #flatsOf: RoomOptions['flatsOf'];
  readonly #there = new Set<Flat>();

  constructor({ units, flatsOf, ranksOf, elementBytes }: RoomOptions) {
    this.#flatsOf = flatsOf;
    let bytes = 0;
    for (const flat of new Set(units.flatMap(({ index }) => flatsOf(index)))) {
      this.#offsets.set(flat, bytes);
      bytes += gatheredElements(flat, ranksOf(flat)) * elementBytes;
    }
    this.bytes = bytes;
  }

  enter(unit: number): Seat {
    const flats = this.#flatsOf(unit);
    const missing = flats.filter((flat) => !this.#there.has(flat));
    for (const flat of missing) this.#there.add(flat);
    return { offsets: new Map(flats.map((flat) => [flat, this.#offsets.get(flat)!])), missing };
  }

  fits(): boolean {
    return true;
  }

  empty(): void {
    this.#there.clear();
  }
}

type End = 'low' | 'high';

/**
 * Two units at a time, one from each end: the one at work and the next. As large as the largest unit, or the largest two
 * that follow each other.
 */
export class PairRoom implements Room {
  readonly bytes: number;
  readonly #options: RoomOptions;
  readonly #there: { low: number | null; high: number | null } = { low: null, high: null };
  #last: End = 'high';

  constructor(options: RoomOptions) {
    this.#options = options;
    const sizes = options.units.map(({ index }) => this.#bytesOf(index));
    this.bytes = Math.max(0, ...sizes.map((size, index) => size + (sizes[index + 1] ?? 0)));
  }

  #bytesOf(unit: number): number {
    const { flatsOf, ranksOf, elementBytes } = this.#options;
    return flatsOf(unit).reduce((sum, flat) => sum + gatheredElements(flat, ranksOf(flat)) * elementBytes, 0);
  }

  enter(unit: number, beside: number | null): Seat | null {
    const there = this.#there;
    for (const end of ['low', 'high'] as const) {
      if (there[end] !== unit) continue;
      this.#last = end;
      return { offsets: this.#offsets(unit, end), missing: [] };
    }
    const end = beside === null ? opposite(this.#last) : opposite(there.low === beside ? 'low' : 'high');
    const other = there[opposite(end)];
    if (other !== null && this.#bytesOf(other) + this.#bytesOf(unit) > this.bytes) {
      if (other === beside) return null;
      there[opposite(end)] = null;
    }
    there[end] = unit;
    this.#last = end;
    return { offsets: this.#offsets(unit, end), missing: this.#options.flatsOf(unit) };
  }

  fits(unit: number, beside: number): boolean {
    const { low, high } = this.#there;
    return low === unit || high === unit || this.#bytesOf(unit) + this.#bytesOf(beside) <= this.bytes;
  }

  #offsets(unit: number, end: End): Map<Flat, number> {
    const { flatsOf, ranksOf, elementBytes } = this.#options;
    let at = end === 'low' ? 0 : this.bytes - this.#bytesOf(unit);
    const offsets = new Map<Flat, number>();
    for (const flat of flatsOf(unit)) {
      offsets.set(flat, at);
      at += gatheredElements(flat, ranksOf(flat)) * elementBytes;
    }
    return offsets;
  }

  empty(): void {
    this.#there.low = null;
    this.#there.high = null;
    this.#last = 'high';
  }
}

const opposite = (end: End): End => (end === 'low' ? 'high' : 'low');
