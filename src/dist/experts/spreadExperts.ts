/**
 * Experts over the ranks of a group: rank r of p has experts r·E/p to (r+1)·E/p. Each rank has tokens of its own, as in data
 * parallelism; the tokens go to the experts (GShard, Lepikhin et al. 2020). A group of one sends nothing: all experts are here, and
 * only the balance of loads is counted over ranks.
 *
 * Gradients. An expert's already has what the tokens of all ranks of the group contribute, so it is summed only over the group's
 * replicas; every other parameter's is summed over all ranks. Both are divided by the number of ranks with tokens of their own.
 */
import { TierraError } from '../../core/errors.ts';
import type { DeviceName } from '../../native/binding.ts';
import type { ExpertExchange, ExpertRange, RowsAtExperts } from '../../nn/index.ts';
import { ops, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { allToAllInGroup, allToAllRows } from '../tensor/operators.ts';
import { orderFromRanks } from './arrivalOrder.ts';

export class SpreadExperts implements ExpertExchange {
  readonly group: Group;
  /** All ranks with tokens of their own, over which the balance of loads is counted. */
  readonly tokens: Group;

  constructor(group: Group, tokens: Group = group) {
    this.group = group;
    this.tokens = tokens;
  }

  range(experts: number): ExpertRange {
    const { size, rank } = this.group;
    if (experts % size !== 0) {
      throw new TierraError(
        'E_CONFIG',
        `${experts} experts do not divide over ep = ${size} ranks: ${experts} % ${size} = ${experts % size}`,
        {
          hint: 'Choose a degree of expert parallelism that divides the number of experts.',
          details: { experts, ranks: size },
        },
      );
    }
    const here = experts / size;
    return { begin: rank * here, end: (rank + 1) * here };
  }

  toExperts(slots: Tensor): Tensor {
    if (this.group.size === 1) return slots;
    return allToAllInGroup(slots, this.group, 0, 1);
  }

  fromExperts(results: Tensor): Tensor {
    if (this.group.size === 1) return results;
    return allToAllInGroup(results, this.group, 1, 0);
  }

  /** Two all-to-alls: the counts, which are shapes, then the rows. */
  rowsToExperts(rows: Tensor, counts: readonly number[]): RowsAtExperts {
    const { size } = this.group;
    if (size === 1) return { rows, counts, back: (results) => results };
    const here = counts.length / size;
    const arriving = this.#exchangeCounts(counts, rows.device);
    const leaving = Array.from({ length: size }, (_, rank) => sum(counts.slice(rank * here, (rank + 1) * here)));
    const coming = arriving.map(sum);
    const byRank = allToAllRows(rows, this.group, coming, leaving);
    const { order, places } = orderFromRanks(arriving);
    const index = (values: readonly number[]): Tensor =>
      ops.fromArray(values, [values.length], { dtype: 'int64', device: rows.device });
    return {
      rows: ops.indexSelect(byRank, 0, index(order)),
      counts: Array.from({ length: here }, (_, expert) => sum(arriving.map((ofRank) => ofRank[expert]!))),
      back: (results) => allToAllRows(ops.indexSelect(results, 0, index(places)), this.group, leaving, coming),
    };
  }

  /** Of every rank, how many rows it sends to each expert here. */
  #exchangeCounts(counts: readonly number[], device: DeviceName): number[][] {
    const { size } = this.group;
    const here = counts.length / size;
    const mine = ops.fromArray(counts, [counts.length], { dtype: 'int64', device });
    const theirs = ops.empty([counts.length], { dtype: 'int64', device });
    this.group.allToAll(theirs, mine).wait();
    const flat = ops.toArray(theirs);
    return Array.from({ length: size }, (_, rank) => flat.slice(rank * here, (rank + 1) * here));
  }

  sumOverTokens(x: Tensor): Tensor {
    const sums = ops.clone(ops.detach(x));
    this.tokens.allReduce(sums).wait();
    return sums;
  }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
