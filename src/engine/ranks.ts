/** The ranks that share each batch, as the training loop sees them. */

import type { Config } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';
import type { Communicator, Group } from '../dist/index.ts';
import type { Mesh } from '../dist/mesh.ts';
import { noGrad, ops, scope } from '../tensor/index.ts';
import type { Context } from './launch.ts';
import { jobSize, meshOf } from './mesh.ts';

/** Processes that come to common answers. Every one of them makes each call at the same place. */
export interface Peers {
  /** Position of this process among them. */
  readonly rank: number;
  readonly size: number;
  /** Sums over them, element by element; the same on all. */
  sum(values: readonly number[]): number[];
  /** Everyone's value, as JSON, in rank order. */
  exchange<Value>(value: Value): Value[];
}

/** Those that share each batch: they run the same model, or the same part of it. */
export interface DataRanks extends Peers {
  /** All processes of the job, which may hold other parts of the model. */
  readonly everyone: Peers;
  /** The ranks that each hold a part of one copy of the states; null where nobody else is there. */
  readonly shards: Group | null;
  /** The ranks with the same part of other copies; null where there is one copy. */
  readonly replicas: Group | null;
}

const nobody: Peers = { rank: 0, size: 1, sum: (values) => [...values], exchange: (value) => [value] };

/** Nobody else. */
export const noOtherRanks: DataRanks = { ...nobody, everyone: nobody, shards: null, replicas: null };

/** The ranks of `group`, in its order. */
function peersIn(group: Group, communicator: Communicator): Peers {
  if (group.size === 1) return nobody;
  const { device } = communicator;
  return {
    rank: group.rank,
    size: group.size,
    sum: (values) =>
      scope(() =>
        noGrad(() => {
          const tensor = ops.fromArray(Float64Array.from(values), [values.length], { dtype: 'float64', device });
          group.allReduce(tensor).wait();
          return ops.toArray(tensor);
        }),
      ),
    exchange: (value) => {
      const all = communicator.exchange(value);
      return group.ranks.map((rank) => all[rank]!);
    },
  };
}

/** Whether it is so on any rank. */
export const anyOf = (ranks: Peers, here: boolean): boolean => ranks.sum([here ? 1 : 0])[0]! > 0;

/** The mean over ranks. */
export const meanOver = (ranks: Peers, value: number): number => ranks.sum([value])[0]! / ranks.size;

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
  const { config } = context;
  const { dp } = config.parallel;
  const alone = jobSize(context) === 1;
  if (alone) checkCopies(config.parallel, 1);
  if (alone && (dp === 'auto' || dp === 1)) return noOtherRanks;
  return divideRanks(meshOf(context), config.parallel);
}

type Degrees = Config['parallel'];

function checkCopies({ zero, replicate }: Pick<Degrees, 'zero' | 'replicate'>, size: number): void {
  if (size % replicate === 0 && (replicate === 1 || zero > 0)) return;
  const why = zero === 0 ? 'zero 0 divides nothing' : `dp ${size} / replicate ${replicate} is not whole`;
  throw new TierraError('E_CONFIG', `parallel.replicate: ${replicate} copies of what zero divides, but ${why}`, {
    hint: 'Give a divisor of dp, such as the number of nodes, or leave it at 1.',
  });
}

/** The groups of data parallelism in a mesh. Called by all its ranks, with the same settings. */
export function divideRanks(mesh: Mesh, { zero, replicate }: Degrees): DataRanks {
  const { communicator, layout } = mesh;
  const { dp } = layout.degrees;
  checkCopies({ zero, replicate }, dp);
  const all = mesh.group('dp');
  const ranks = { ...peersIn(all, communicator), everyone: peersIn(communicator.all, communicator) };
  if (dp === 1) return { ...ranks, shards: null, replicas: null };
  if (replicate === 1) return { ...ranks, shards: all, replicas: null };
  const shardSize = dp / replicate;
  const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
  const batches = layout.partition(['dp']);
  const copies = batches.flatMap((ranks) =>
    range(replicate).map((copy) => range(shardSize).map((at) => ranks[copy * shardSize + at]!)),
  );
  const same = batches.flatMap((ranks) =>
    range(shardSize).map((at) => range(replicate).map((copy) => ranks[copy * shardSize + at]!)),
  );
  const shards = communicator.split('shards', copies)!;
  return { ...ranks, shards, replicas: communicator.split('replicas', same) };
}
