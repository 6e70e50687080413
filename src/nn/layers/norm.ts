import { ops, type Tensor } from '../../tensor/index.ts';
import { rmsNorm } from '../fused.ts';
import { ones, zeros } from '../init.ts';
import { Module } from '../module.ts';
import { Parameter } from '../parameter.ts';

/** Layer normalisation over the last dimension (Ba, Kiros, Hinton 2016). */
export class LayerNorm extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly epsilon: number;

  constructor(width: number, options: { epsilon?: number; bias?: boolean } = {}) {
    super();
    this.weight = new Parameter([width], ones);
    this.bias = options.bias === false ? null : new Parameter([width], zeros);
    this.epsilon = options.epsilon ?? 1e-5;
  }

  forward(x: Tensor): Tensor {
    return ops.layerNorm(x, this.weight.shape, this.weight.tensor, this.bias?.tensor ?? null, this.epsilon);
  }
}

/**
 * Root-mean-square normalisation over the last dimension (Zhang & Sennrich 2019), computed in fp32 and rounded to the
 * input's type before the weight is applied, as Llama does.
 */
export class RMSNorm extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly epsilon: number;

  constructor(width: number, epsilon = 1e-6) {
    super();
    this.weight = new Parameter([width], ones);
    this.epsilon = epsilon;
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight.tensor, this.epsilon);
  }
}

/** Group normalisation: x `[batch, channels, ...]` in `groups` groups of channels (Wu & He 2018). */
export class GroupNorm extends Module<[Tensor], Tensor> {
  readonly groups: number;
  readonly weight: Parameter;
  readonly bias: Parameter;
  readonly epsilon: number;

  constructor(groups: number, channels: number, epsilon = 1e-5) {
    super();
    this.groups = groups;
    this.weight = new Parameter([channels], ones);
    this.bias = new Parameter([channels], zeros);
    this.epsilon = epsilon;
  }

  forward(x: Tensor): Tensor {
    return ops.groupNorm(x, this.groups, this.weight.tensor, this.bias.tensor, this.epsilon);
  }
}
