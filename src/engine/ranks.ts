/** The ranks that share each batch, as the training loop sees them. */

import type { Config } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';
import type { Communicator, Group } from '../dist/index.ts';
import { noGrad, ops, scope } from '../tensor/index.ts';
import type { Context } from './launch.ts';
import { meshOf } from './mesh.ts';

export interface DataRanks {
  /** Position of this process among them. */
  readonly rank: number;
  readonly size: number;
  /** The ranks that each hold a part of one copy of the states; null where nobody else is there. */
  readonly shards: Group | null;
  /** The ranks with the same part of other copies; null where there is one copy. */
  readonly replicas: Group | null;
  /** Sums over the ranks, element by element; the same on all of them. Every rank calls it at the same place. */
  sum(values: readonly number[]): number[];
  /** Every rank's value, as JSON, in rank order. */
  exchange<Value>(value: Value): Value[];
}

/** Nobody else. */
export const noOtherRanks: DataRanks = {
  rank: 0,
  size: 1,
  shards: null,
  replicas: null,
  sum: (values) => [...values],
  exchange: (value) => [value],
};

export interface DataGroups {
  /** All that share a batch. */
  readonly all: Group;
  readonly shards: Group;
  readonly replicas: Group | null;
  readonly exchange: DataRanks['exchange'];
}

export function ranksOf({ all, shards, replicas, exchange }: DataGroups, device: string): DataRanks {
  return {
    rank: all.rank,
    size: all.size,
    shards,
    replicas,
    sum: (values) =>
      scope(() =>
        noGrad(() => {
          const tensor = ops.fromArray(Float64Array.from(values), [values.length], { dtype: 'float64', device });
          all.allReduce(tensor).wait();
          return ops.toArray(tensor);
        }),
      ),
    exchange,
  };
}

/** Whether it is so on any rank. */
export const anyOf = (ranks: DataRanks, here: boolean): boolean => ranks.sum([here ? 1 : 0])[0]! > 0;

/** The mean over ranks. */
export const meanOver = (ranks: DataRanks, value: number): number => ranks.sum([value])[0]! / ranks.size;

const known = new WeakMap<Context, DataRanks>();

/**
 * The ranks that share batches with this process, as `parallel:` divides them; they meet at the first call. Throws
 * `E_CONFIG` when the degrees do not multiply to the number of ranks.
 */
export function dataRanks(context: Context): DataRanks {
  let ranks = known.get(context);
  if (ranks === undefined) {
    ranks = meet(context);
    known.set(context, ranks);
  }
  return ranks;
}

function meet(context: Context): DataRanks {
  const { config, world } = context;
  const { dp } = config.parallel;
  if (world.size === 1) checkCopies(config.parallel, 1);
  if (world.size === 1 && (dp === 'auto' || dp === 1)) return noOtherRanks;
  if (meshOf(context).layout.degrees.dp === 1) return noOtherRanks;
  return divideRanks(meshOf(context).communicator, config.parallel);
}

type Degrees = Config['parallel'];

function checkCopies({ zero, replicate }: Degrees, size: number): void {
  if (size % replicate === 0 && (replicate === 1 || zero > 0)) return;
  const why = zero === 0 ? 'zero 0 divides nothing' : `dp ${size} / replicate ${replicate} is not whole`;
  throw new TierraError('E_CONFIG', `parallel.replicate: ${replicate} copies of what zero divides, but ${why}`, {
    hint: 'Give a divisor of dp, such as the number of nodes, or leave it at 1.',
  });
}

/** The groups of data parallelism among ranks that have met and all share batches. Called by all, with the same settings. */
export function divideRanks(peers: Communicator, parallel: Degrees): DataRanks {
  const { size } = peers.world;
  checkCopies(parallel, size);
  const { replicate } = parallel;
  const groups = { all: peers.all, exchange: <Value>(value: Value): Value[] => peers.exchange(value) };
  if (replicate === 1) return ranksOf({ ...groups, shards: peers.all, replicas: null }, peers.device);
  const shardSize = size / replicate;
  const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
  const copies = range(replicate).map((copy) => range(shardSize).map((at) => copy * shardSize + at));
  const same = range(shardSize).map((at) => range(replicate).map((copy) => copy * shardSize + at));
  const shards = peers.split('shards', copies)!;
  return ranksOf({ ...groups, shards, replicas: peers.split('replicas', same) }, peers.device);
}
