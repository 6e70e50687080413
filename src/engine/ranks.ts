/** The ranks that train on one batch together, as the training loop sees them. */

import type { Config } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';
import type { Communicator, Group } from '../dist/index.ts';
import type { Axis, Mesh } from '../dist/mesh.ts';
import type { Copies } from '../dist/zero/index.ts';
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

/**
 * Those that have tokens of their own of each batch (dp, sp and ep): they run the same model, or the same part of it, and average their
 * losses and gradients.
 */
export interface DataRanks extends Peers {
  /** All processes of the job, which may hold other parts of the model. */
  readonly everyone: Peers;
  /** Which rows of each batch this process gets: part `rank` of `size`. Ranks of one sequence get the same. */
  readonly rows: { readonly rank: number; readonly size: number };
  /** Null where nobody else is there. */
  readonly groups: DataGroups | null;
}

export interface DataGroups {
  /** All of them. */
  readonly tokens: Group;
  /** Those that share each sequence, and those that share the experts: of one rank where there are none. */
  readonly sequence: Group;
  readonly experts: Group;
  /** Who has copies of a parameter that is on all of them. */
  readonly copies: Copies;
  /** Who has copies of an expert. */
  readonly expertCopies: Copies;
}

const nobody: Peers = { rank: 0, size: 1, sum: (values) => [...values], exchange: (value) => [value] };

/** Nobody else. */
export const noOtherRanks: DataRanks = { ...nobody, everyone: nobody, rows: { rank: 0, size: 1 }, groups: null };

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
 * The ranks that train on batches with this process, as `parallel:` divides them; they meet at the first call. Throws
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
  const { dp, sp, ep } = config.parallel;
  const alone = jobSize(context) === 1;
  if (alone) checkCopies(config.parallel, 1, 'dp');
  if (alone && (dp === 'auto' || dp === 1) && sp === 1 && ep === 1) return noOtherRanks;
  return divideRanks(meshOf(context), config.parallel);
}

type Degrees = Config['parallel'];

function checkCopies({ zero, replicate }: Pick<Degrees, 'zero' | 'replicate'>, size: number, what: string): void {
  if (size % replicate === 0 && (replicate === 1 || zero > 0)) return;
  const why = zero === 0 ? 'zero 0 divides nothing' : `${what} ${size} / replicate ${replicate} is not whole`;
  throw new TierraError('E_CONFIG', `parallel.replicate: ${replicate} copies of what zero divides, but ${why}`, {
    hint: 'Give a divisor of dp, such as the number of nodes, or leave it at 1.',
  });
}

/** Outermost first. */
const dataAxes = ['dp', 'sp', 'ep'] as const satisfies readonly Axis[];

/** The groups of those that have tokens of their own. Called by all ranks of a mesh, with the same settings. */
export function divideRanks(mesh: Mesh, { zero, replicate }: Pick<Degrees, 'zero' | 'replicate'>): DataRanks {
  const { communicator, coordinate, layout } = mesh;
  const { dp, ep } = layout.degrees;
  const copiesAlong = (along: readonly Axis[]): Copies => divideCopies(mesh, along, { zero, replicate });
  const tokens = mesh.group(...dataAxes);
  const ranks = {
    ...peersIn(tokens, communicator),
    everyone: peersIn(communicator.all, communicator),
    rows: { rank: coordinate.dp * ep + coordinate.ep, size: dp * ep },
  };
  const copies = copiesAlong(dataAxes);
  if (tokens.size === 1) return { ...ranks, groups: null };
  // Each expert is on one of the ranks along ep.
  const expertCopies = ep === 1 ? copies : copiesAlong(['dp', 'sp']);
  return {
    ...ranks,
    groups: { tokens, sequence: mesh.group('sp'), experts: mesh.group('ep'), copies, expertCopies },
  };
}

/** One copy on all ranks along these axes, or `replicate` copies, each on ranks that follow each other. */
function divideCopies(
  mesh: Mesh,
  along: readonly Axis[],
  { zero, replicate }: Pick<Degrees, 'zero' | 'replicate'>,
): Copies {
  const { communicator, layout } = mesh;
  const all = mesh.group(...along);
  const named = along.filter((axis) => axis === 'dp' || layout.degrees[axis] > 1);
  checkCopies({ zero, replicate }, all.size, named.join(' x '));
  if (replicate === 1) return { shards: all, replicas: null };
  const shardSize = all.size / replicate;
  const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
  const batches = layout.partition(along);
  const parts = batches.flatMap((ranks) =>
    range(replicate).map((copy) => range(shardSize).map((at) => ranks[copy * shardSize + at]!)),
  );
  const same = batches.flatMap((ranks) =>
    range(shardSize).map((at) => range(replicate).map((copy) => ranks[copy * shardSize + at]!)),
  );
  const shards = communicator.split('shards', parts)!;
  return { shards, replicas: communicator.split('replicas', same) };
}
