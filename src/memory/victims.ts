import { LRUCache } from 'lru-cache';

/** Chooses which chunk has to leave when a slot is needed. Pinned chunks are never among the candidates. */
export interface VictimPolicy {
  /** The chunk is used at `moment`. */
  touch(chunk: number, moment: number): void;
  /** The chunk's slot was taken or given up. */
  forget(chunk: number): void;
  /** One of `candidates`, which is not empty. */
  victim(candidates: readonly number[], moment: number): number;
}

/** Next use of a chunk strictly after a moment; `Infinity` when there is none. */
export type NextUse = (chunk: number, moment: number) => number;

/** Belady's MIN: the furthest next use leaves; of equals the smallest, which costs least to bring back, then the larger id. */
export function beladyPolicy(nextUse: NextUse, bytes: (chunk: number) => number = () => 0): VictimPolicy {
  return {
    touch() {},
    forget() {},
    victim(candidates, moment) {
      let worst = candidates[0]!;
      let furthest = nextUse(worst, moment);
      for (const chunk of candidates) {
        const next = nextUse(chunk, moment);
        const lighter = bytes(chunk) - bytes(worst);
        if (next > furthest || (next === furthest && (lighter < 0 || (lighter === 0 && chunk > worst)))) {
          worst = chunk;
          furthest = next;
        }
      }
      return worst;
    },
  };
}

/** Least recently used, the baseline every cache is compared with; `chunks` bounds how many there are. */
export function lruPolicy(chunks: number): VictimPolicy {
  const recency = new LRUCache<number, true>({ max: Math.max(1, chunks) });
  return {
    touch(chunk) {
      recency.set(chunk, true);
    },
    forget(chunk) {
      recency.delete(chunk);
    },
    victim(candidates) {
      const allowed = new Set(candidates);
      for (const chunk of recency.rkeys()) if (allowed.has(chunk)) return chunk;
      return candidates[0]!;
    },
  };
}

/** `NextUse` over ascending lists of moments, one list per chunk; lookups must not go back in time by chunk. */
export function nextUseOf(moments: readonly (readonly number[])[]): NextUse {
  const cursor = new Int32Array(moments.length);
  return (chunk, moment) => {
    const list = moments[chunk]!;
    let at = cursor[chunk]!;
    while (at < list.length && list[at]! <= moment) at++;
    cursor[chunk] = at;
    return list[at] ?? Number.POSITIVE_INFINITY;
  };
}
