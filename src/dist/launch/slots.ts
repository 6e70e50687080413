/** Where each rank runs. */
import { TierraError } from '../../core/errors.ts';
import type { Host } from './hosts.ts';

export interface RankPlace {
  readonly rank: number;
  readonly host: string;
  readonly localRank: number;
  readonly localSize: number;
  /** Position among the host's places: stays the same when places before it are left out. */
  readonly slot: number;
}

export interface Slot {
  readonly host: string;
  readonly slot: number;
}

/** The first `count` places, hosts one after the other. */
export function takeSlots(hosts: readonly Host[], count: number): Slot[] {
  const all = hosts.flatMap(({ name, slots }) => Array.from({ length: slots }, (_, slot) => ({ host: name, slot })));
  if (count <= all.length) return all.slice(0, count);
  throw new TierraError('E_LAUNCH', `${count} ranks are asked for, but the hosts take ${all.length}`, {
    hint: `Say how many ranks a host takes: ${hosts[0]!.name}:${Math.ceil(count / hosts.length)}, or slots=${Math.ceil(count / hosts.length)} in the hostfile.`,
  });
}

/** Numbers ranks in the order of their places. */
export function placeRanks(slots: readonly Slot[]): RankPlace[] {
  const sizeOf = (host: string): number => slots.filter((each) => each.host === host).length;
  const seen = new Map<string, number>();
  return slots.map(({ host, slot }, rank) => {
    const localRank = seen.get(host) ?? 0;
    seen.set(host, localRank + 1);
    return { rank, host, slot, localRank, localSize: sizeOf(host) };
  });
}
