import { ops, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';

export interface ShardedLoss {
  /**
   * For backward, in fp32 or fp64: the mean of its gradients over the ranks is the gradient of the mean loss over all labelled tokens. So the ranks
   * of a sequence average gradients together with data-parallel replicas.
   */
  readonly share: Tensor;
  /** The mean over all ranks' labelled tokens, the same on every rank; without gradient. */
  readonly mean: Tensor;
}

/**
 * From each rank's mean loss over its own labelled tokens to the mean over all: runs may have different numbers of them, or none,
 * where the local mean is NaN. `labels` int64 of any shape, -100 without loss. One all-reduce of two numbers.
 */
export function lossOverRanks(localMean: Tensor, labels: Tensor, group: Group): ShardedLoss {
  const { dtype, device } = localMean;
  const wide = dtype === 'float64' ? 'float64' : 'float32';
  const zero = ops.zeros([], { dtype, device });
  const ignored = ops.sum(ops.to(ops.eq(labels, -100), { dtype: wide }));
  const count = ops.add(ops.neg(ignored), labels.elements);
  const known = ops.where(ops.ge(count, 0.5), localMean, zero);
  const own = ops.mul(ops.to(ops.detach(known), { dtype: wide }), count);
  const both = ops.stack([own, count], 0);
  group.allReduce(both).wait();
  const [sum, total] = [ops.select(both, 0, 0), ops.select(both, 0, 1)];
  const weight = ops.div(ops.mul(count, group.size), total);
  // Weights of half precision would be off by as much as it rounds.
  return { share: ops.mul(ops.to(known, { dtype: wide }), weight), mean: ops.div(sum, total) };
}
