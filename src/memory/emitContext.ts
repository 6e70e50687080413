import type { Arenas } from './arenas.ts';
import type { Draft, Release, Ring, Stay } from './draft.ts';
import type { Placement } from './placement.ts';
import type { MomentParameter } from './plan.ts';
import { type PoolName, poolNames, type Residency } from './residency.ts';
import type { Lease } from './slotPool.ts';
import type { StepModel } from './stepModel.ts';
import type { SlotId } from './types.ts';

/** What a chunk's gradient has become below the GPU by the end of backward. */
export interface Arrival {
  /** All parts are there when these are complete. */
  readonly tickets: number[];
  /** The staging slot it came through, where it rests on disk. */
  stay: Stay | null;
  /** The write that parked it. */
  park: number | null;
  /** Its last moment, over all steps. */
  moment: number;
}

/** Everything the emitting passes share. */
export interface EmitContext {
  readonly model: StepModel;
  readonly placement: Placement;
  readonly arenas: Arenas;
  readonly draft: Draft;
  readonly stays: LeaseIndex;
  /** How many moments ahead a fetch may start: 1 is on demand. */
  readonly lead: number;
  /** Copies that one cyclic step leaves on the GPU for the next. */
  readonly carried: readonly MomentParameter[];
  readonly rings: Readonly<Record<keyof Placement['staging'], Ring>>;
  /** By chunk: what makes the newest parameter and state readable at home. */
  readonly parameterReady: Map<number, Release>;
  readonly stateReady: Map<number, Release>;
  /** By chunk: what frees the places of its own in which gradients rest. Absent: they are free when the parameter is ready. */
  readonly gradientFree: Map<number, Release>;
  /** By chunk: this step's gradient. */
  readonly arrivals: Map<number, Arrival>;
}

/** Finds pool stays by chunk and moment, and what frees their slots. */
export class LeaseIndex {
  readonly #arenas: Arenas;
  readonly #pools = new Map<Lease, PoolName>();
  readonly #parameters = new Map<number, Lease[]>();
  readonly #gradients = new Map<string, Lease>();
  readonly #lastInSlot = new Map<string, Lease>();
  /** The ticket that empties a slot whose gradient leaves. */
  readonly leaving = new Map<Lease, number>();

  constructor(arenas: Arenas, residency: Residency) {
    this.#arenas = arenas;
    for (const pool of poolNames) {
      for (const lease of residency[pool].leases) {
        this.#pools.set(lease, pool);
        this.#lastInSlot.set(`${pool} ${lease.slot}`, lease);
        if (lease.kind === 'gradient') this.#gradients.set(`${lease.chunk} ${lease.part} ${lease.start}`, lease);
        else this.#parameters.set(lease.chunk, [...(this.#parameters.get(lease.chunk) ?? []), lease]);
      }
    }
  }

  slot(lease: Lease): SlotId {
    return this.#arenas.pools[this.#pools.get(lease)!][lease.slot]!;
  }

  /** The stay in which `chunk` is there at `moment`. */
  parameter(chunk: number, moment: number): Lease {
    return this.#parameters.get(chunk)!.find((lease) => lease.start <= moment && moment <= lease.end)!;
  }

  gradient(chunk: number, part: number, moment: number): Lease {
    return this.#gradients.get(`${chunk} ${part} ${moment}`)!;
  }

  /** The last stay in the slot of `lease`, over all steps: in a cyclic draft the one before its first. */
  last(lease: Lease): Lease {
    return this.#lastInSlot.get(`${this.#pools.get(lease)!} ${lease.slot}`)!;
  }

  /** What has to happen before the next stay may begin. */
  release(lease: Lease): Release {
    const left = this.leaving.get(lease);
    return left === undefined ? { tickets: [], moment: lease.end } : { tickets: [left], moment: -1 };
  }
}
