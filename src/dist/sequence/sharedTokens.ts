/** What all ways to share a sequence have in common: who has which tokens, and how their losses come together. */
import type { AttentionOptions, PositionRun } from '../../nn/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { lossOverRanks } from './loss.ts';
import { runsOf, type SequenceOrder, splitSequence } from './order.ts';
import type { SequenceMode, SequenceModeName } from './types.ts';

export abstract class SharedTokens implements SequenceMode {
  abstract readonly name: SequenceModeName;
  abstract readonly order: SequenceOrder;
  readonly group: Group;

  constructor(group: Group) {
    this.group = group;
  }

  get parts(): number {
    return this.group.size;
  }

  runs(length: number): PositionRun[] {
    return runsOf(this.order, this.group.rank, this.parts, length);
  }

  split(x: Tensor, dim: number): Tensor {
    return splitSequence(x, dim, this.order, this.group);
  }

  shareOfLoss(localMean: Tensor, labels: Tensor): Tensor {
    return lossOverRanks(localMean, labels, this.group).share;
  }

  abstract attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor;
}
