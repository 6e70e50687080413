import { rmsNorm } from '../../nn/fused.ts';
import { RMSNorm } from '../../nn/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';
import { copyToGroup } from './operators.ts';

/** Norms inside heads that are on different ranks of `groups`: all use the weight, whose gradient is summed over them. */
export class HeadNorm extends RMSNorm {
  readonly #groups: readonly Group[];

  constructor(size: number, epsilon: number, groups: readonly Group[]) {
    super(size, epsilon);
    this.#groups = groups;
  }

  override forward(x: Tensor): Tensor {
    const weight = this.#groups.reduce<Tensor>((shared, group) => copyToGroup(shared, group), this.weight.tensor);
    return rmsNorm(x, weight, this.epsilon);
  }
}
