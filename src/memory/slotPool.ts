import { invariant } from '../core/errors.ts';
import type { NextUse, VictimPolicy } from './victims.ts';

/** What one moment asks of a pool of equal GPU slots. */
export interface PoolDemand {
  /** Chunks that must be there. */
  readonly need: readonly number[];
  /** Gradients that want a slot of their own for this moment, until they have left. */
  readonly gradients: readonly { readonly chunk: number; readonly part: number; readonly microBatch: number }[];
  /** Chunks whose slot holds their gradient when the moment ends, until it has left. */
  readonly takeovers: readonly number[];
  /** Chunks whose copy is outdated once the moment is over: their gradient is complete elsewhere. */
  readonly expires: readonly number[];
}

/** One stay in a slot. */
export interface Lease {
  readonly slot: number;
  readonly chunk: number;
  readonly kind: 'parameter' | 'gradient';
  readonly part: number;
  readonly microBatch: number;
  /** The moment that asked for it; -1 when it was there before the step began. */
  readonly start: number;
  /** The last moment that uses it. */
  end: number;
  /** A gradient leaves from here: the slot is free when that transfer is done, not when the moment is. */
  leaves: boolean;
  /** The stay before in this slot, or null for the first. */
  readonly previous: Lease | null;
}

export interface PoolOptions {
  readonly slotCount: number;
  readonly policy: VictimPolicy;
  readonly nextUse: NextUse;
  /** Slots that no chunk may occupy just to be kept: they are free early, so that fetches start early. */
  readonly slack: number;
  /** Chunks that are there when the first moment begins, and the slot to which each comes back whenever it can. */
  readonly entry?: ReadonlyMap<number, number>;
}

export interface PoolSchedule {
  readonly leases: readonly Lease[];
  /** Chunks that are still there when the last moment ends, with their slots. */
  readonly exit: ReadonlyMap<number, number>;
}

interface PoolSlot {
  occupant: Lease | null;
  last: Lease | null;
  freeAt: number;
}

/**
 * Gives every demand a slot. With Belady's policy and no slack this makes the fewest fetches there can be; each fetch may start as
 * soon as the stay before it in its slot is over, often long before its moment (the "conservative" schedule of Cao,
 * Felten, Karlin and Li, 1995: Belady's replacements, each done at the first opportunity).
 */
export function schedulePool(demands: readonly PoolDemand[], options: PoolOptions): PoolSchedule {
  const { slotCount, policy, nextUse, slack, entry = new Map<number, number>() } = options;
  const slots: PoolSlot[] = Array.from({ length: slotCount }, () => ({ occupant: null, last: null, freeAt: -1 }));
  const where = new Map<number, PoolSlot>();
  const leases: Lease[] = [];

  const vacate = (slot: PoolSlot, freeAt: number): void => {
    const lease = slot.occupant!;
    slot.occupant = null;
    slot.freeAt = freeAt;
    if (lease.kind === 'parameter') {
      where.delete(lease.chunk);
      policy.forget(lease.chunk);
    }
  };
  const evictable = (moment: number): number[] =>
    [...where].filter(([, slot]) => slot.occupant!.end < moment).map(([chunk]) => chunk);
  const acquire = (moment: number, own?: number): PoolSlot => {
    if (own !== undefined && slots[own]!.occupant === null) return slots[own]!;
    // Slots that somebody has to come back to are taken last.
    const reserved = new Set([...entry].filter(([chunk]) => !where.has(chunk)).map(([, slot]) => slots[slot]!));
    let best: PoolSlot | undefined;
    for (const slot of slots) {
      if (slot.occupant !== null) continue;
      const sooner = best === undefined || slot.freeAt < best.freeAt;
      const kinder = best !== undefined && reserved.has(best) && !reserved.has(slot);
      const ruder = best !== undefined && !reserved.has(best) && reserved.has(slot);
      if (kinder || (sooner && !ruder)) best = slot;
    }
    if (best !== undefined) return best;
    const candidates = evictable(moment);
    invariant(candidates.length > 0, `a pool of ${slotCount} slots is too small for moment ${moment}`);
    const slot = where.get(policy.victim(candidates, moment))!;
    vacate(slot, slot.occupant!.end);
    return slot;
  };
  const lease = (slot: PoolSlot, what: Pick<Lease, 'chunk' | 'kind' | 'part' | 'microBatch'>, moment: number): void => {
    const entry: Lease = {
      ...what,
      slot: slots.indexOf(slot),
      start: moment,
      end: moment,
      leaves: false,
      previous: slot.last,
    };
    slot.occupant = entry;
    slot.last = entry;
    leases.push(entry);
  };

  for (const [chunk, index] of entry) {
    const slot = slots[index]!;
    lease(slot, { chunk, kind: 'parameter', part: 0, microBatch: -1 }, -1);
    where.set(chunk, slot);
  }
  demands.forEach((demand, moment) => {
    for (const chunk of demand.need) {
      const slot = where.get(chunk);
      if (slot !== undefined) slot.occupant!.end = moment;
      policy.touch(chunk, moment);
    }
    for (const chunk of demand.need) {
      if (where.has(chunk)) continue;
      const slot = acquire(moment, entry.get(chunk));
      lease(slot, { chunk, kind: 'parameter', part: 0, microBatch: -1 }, moment);
      where.set(chunk, slot);
    }
    const own = demand.gradients.map((gradient) => {
      const slot = acquire(moment);
      lease(slot, { ...gradient, kind: 'gradient' }, moment);
      return slot;
    });
    for (const slot of [...own, ...demand.takeovers.map((chunk) => where.get(chunk)!)]) {
      slot.occupant!.leaves = true;
      vacate(slot, moment + 0.5);
    }
    for (const chunk of demand.expires) vacate(where.get(chunk)!, moment);
    for (const [chunk, slot] of [...where]) {
      const next = nextUse(chunk, moment);
      // In a step that repeats, what is needed only in the next one and cannot stay for it is as good as gone.
      const leftBehind = entry.size > 0 && next >= demands.length && !entry.has(chunk);
      if (next === Number.POSITIVE_INFINITY || leftBehind) vacate(slot, slot.occupant!.end);
    }
    while (where.size > Math.max(0, slotCount - slack)) {
      const spare = [...where.keys()].filter((chunk) => nextUse(chunk, moment) > moment + 1);
      if (spare.length === 0) break;
      const slot = where.get(policy.victim(spare, moment))!;
      vacate(slot, slot.occupant!.end);
    }
  });
  return { leases, exit: new Map([...where].map(([chunk, slot]) => [chunk, slots.indexOf(slot)])) };
}

/**
 * One step that repeats: chunks that no step changes may stay over its end, if they end where they began. Starts from what would be left
 * over and gives up whatever cannot return to its slot, until the rest is consistent.
 */
export function scheduleCyclicPool(demands: readonly PoolDemand[], options: () => PoolOptions): PoolSchedule {
  let entry: ReadonlyMap<number, number> = schedulePool(demands, options()).exit;
  for (let round = 0; round < maxRounds && entry.size > 0; round++) {
    const { leases, exit } = schedulePool(demands, { ...options(), entry });
    const used = new Set(leases.filter((lease) => lease.start < 0 && lease.end >= 0).map((lease) => lease.chunk));
    const kept = new Map([...entry].filter(([chunk, slot]) => used.has(chunk) && exit.get(chunk) === slot));
    if (kept.size === entry.size) return { leases, exit: kept };
    entry = kept;
  }
  return { leases: schedulePool(demands, options()).leases, exit: new Map() };
}

const maxRounds = 8;
