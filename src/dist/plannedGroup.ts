/** A group that nobody has joined: it has a size and a place in it, and serves to lay out what real ranks would hold. */
import { TierraError } from '../core/errors.ts';
import type { Group } from './group.ts';

export function plannedGroup(name: string, size: number, rank = 0): Group {
  const refuse = (): never => {
    throw new TierraError('E_INTERNAL', `the group "${name}" is only planned, nothing can be sent in it`);
  };
  return {
    name,
    ranks: Array.from({ length: size }, (_, index) => index),
    rank,
    size,
    allReduce: refuse,
    allGather: refuse,
    reduceScatter: refuse,
    broadcast: refuse,
    reduce: refuse,
    allToAll: refuse,
    send: refuse,
    receive: refuse,
    barrier: refuse,
    counters: refuse,
    resetCounters: refuse,
    dispose() {},
  };
}
