/** Ranks that train together must run the same thing: found out at the start, not by numbers that drift apart. */
import { TierraError } from '../core/errors.ts';

/** What must be the same on all ranks; nested values are compared leaf by leaf, so that a message can name the key. */
export type Facts = Readonly<Record<string, unknown>>;

interface Peers {
  readonly world: { readonly rank: number; readonly size: number };
  exchange<Value>(value: Value): Value[];
}

/**
 * Compares `facts` over all ranks. Called by all of them; where something differs all throw the same `E_PEER`, which names the first
 * rank that differs from rank 0 and the first such key with both values.
 */
export function agree(peers: Peers, facts: Facts): void {
  if (peers.world.size === 1) return;
  const all = peers.exchange(flatten(facts));
  const found = firstDifference(all);
  if (found === null) return;
  const { rank, key, here, there } = found;
  throw new TierraError(
    'E_PEER',
    `rank ${rank} does not agree with rank 0: ${key} is ${there}, on rank 0 it is ${here}`,
    {
      hint: 'Start all ranks with the same code, configuration and data; look for hosts that were not updated.',
      details: found,
    },
  );
}

export interface Difference extends Record<string, unknown> {
  readonly rank: number;
  readonly key: string;
  readonly here: string;
  readonly there: string;
}

/** Null where all maps are equal to the first. */
export function firstDifference(all: readonly Readonly<Record<string, string>>[]): Difference | null {
  const first = all[0]!;
  for (const [rank, other] of all.entries()) {
    const keys = [...new Set([...Object.keys(first), ...Object.keys(other)])];
    const key = keys.find((each) => first[each] !== other[each]);
    if (key !== undefined) return { rank, key, here: first[key] ?? 'not there', there: other[key] ?? 'not there' };
  }
  return null;
}

/** `{ a: { b: 1 } }` → `{ 'a.b': '1' }`. */
export function flatten(facts: unknown, path = ''): Record<string, string> {
  if (typeof facts !== 'object' || facts === null || Array.isArray(facts))
    return { [path]: JSON.stringify(facts) ?? '' };
  return Object.assign(
    {},
    ...Object.entries(facts).map(([key, value]) => flatten(value, path === '' ? key : `${path}.${key}`)),
  );
}
