import { ops, type Tensor } from '../../tensor/index.ts';
import { type Initializer, kaimingUniform, uniform } from '../init.ts';
import { Module } from '../module.ts';
import { Parameter } from '../parameter.ts';

export interface LinearOptions {
  /** Default true. */
  readonly bias?: boolean;
  /** Default `U(-1/√in, 1/√in)`, as libtorch. */
  readonly init?: Initializer;
  readonly biasInit?: Initializer;
  /** A weight to share (tied parameters), `[out, in]`. */
  readonly weight?: Parameter;
}

/** `y = x Wᵀ + b`: x `[..., in]`, weight `[out, in]`, bias `[out]`, y `[..., out]`. */
export class Linear extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly bias: Parameter | null;

  constructor(inFeatures: number, outFeatures: number, options: LinearOptions = {}) {
    super();
    const bound = 1 / Math.sqrt(inFeatures);
    this.weight =
      options.weight ?? new Parameter([outFeatures, inFeatures], options.init ?? kaimingUniform(1 / Math.sqrt(3)));
    this.bias =
      options.bias === false ? null : new Parameter([outFeatures], options.biasInit ?? uniform(-bound, bound));
  }

  forward(x: Tensor): Tensor {
    return ops.linear(x, this.weight.tensor, this.bias?.tensor ?? null);
  }
}

/** `y = x W + b` with the weight stored `[in, out]`, as GPT-2's checkpoints have it. */
export class LinearInOut extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(inFeatures: number, outFeatures: number, init: Initializer, biasInit: Initializer) {
    super();
    this.weight = new Parameter([inFeatures, outFeatures], init);
    this.bias = new Parameter([outFeatures], biasInit);
  }

  forward(x: Tensor): Tensor {
    const [inFeatures, outFeatures] = this.weight.shape as readonly [number, number];
    const rows = ops.reshape(x, [-1, inFeatures]);
    const y = ops.addmm(this.bias.tensor, rows, this.weight.tensor);
    return ops.reshape(y, [...x.shape.slice(0, -1), outFeatures]);
  }
}
