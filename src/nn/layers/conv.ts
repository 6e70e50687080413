import { ops, type Tensor } from '../../tensor/index.ts';
import { kaimingUniform, uniform } from '../init.ts';
import { Module } from '../module.ts';
import { Parameter } from '../parameter.ts';

export interface Conv2dOptions {
  readonly stride?: number;
  readonly padding?: number;
  readonly dilation?: number;
  readonly groups?: number;
  readonly bias?: boolean;
}

/** 2-D convolution: x `[batch, in, height, width]`, weight `[out, in / groups, kernel, kernel]`. */
export class Conv2d extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly options: Required<Omit<Conv2dOptions, 'bias'>>;

  constructor(inChannels: number, outChannels: number, kernel: number, options: Conv2dOptions = {}) {
    super();
    const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options;
    const bound = 1 / Math.sqrt((inChannels / groups) * kernel * kernel);
    this.options = { stride, padding, dilation, groups };
    this.weight = new Parameter([outChannels, inChannels / groups, kernel, kernel], kaimingUniform(1 / Math.sqrt(3)));
    this.bias = options.bias === false ? null : new Parameter([outChannels], uniform(-bound, bound));
  }

  forward(x: Tensor): Tensor {
    const { stride, padding, dilation, groups } = this.options;
    const pair = (n: number) => [n, n];
    const bias = this.bias?.tensor ?? null;
    return ops.conv2d(x, this.weight.tensor, bias, pair(stride), pair(padding), pair(dilation), groups);
  }
}
