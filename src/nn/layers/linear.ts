import { ops, type Tensor } from '../../tensor/index.ts';
import { type Initializer, kaimingUniform, uniform } from '../init.ts';
import { Module } from '../module.ts';
import { Parameter, type WholeOf } from '../parameter.ts';

export interface LinearOptions {
  /** Default true. */
  readonly bias?: boolean;
  /** Default `U(-1/√in, 1/√in)`, as libtorch. */
  readonly init?: Initializer;
  readonly biasInit?: Initializer;
  /** A weight to share (tied parameters), `[out, in]`. */
  readonly weight?: Parameter;
  /** What this rank holds of weight and bias; unset: all. */
  readonly parts?: LinearParts;
}

export interface LinearParts {
  readonly weight: WholeOf;
  readonly bias: WholeOf | null;
}

const parameterOf = (shape: readonly number[], init: Initializer, part: WholeOf | null | undefined): Parameter =>
  part == null ? new Parameter(shape, init) : Parameter.part(part, init);

/** `y = x Wᵀ + b`: x `[..., in]`, weight `[out, in]`, bias `[out]`, y `[..., out]`. */
export class Linear extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly bias: Parameter | null;

  constructor(inFeatures: number, outFeatures: number, options: LinearOptions = {}) {
    super();
    const bound = 1 / Math.sqrt(inFeatures);
    this.weight =
      options.weight ??
      parameterOf([outFeatures, inFeatures], options.init ?? kaimingUniform(1 / Math.sqrt(3)), options.parts?.weight);
    const biasInit = options.biasInit ?? uniform(-bound, bound);
    this.bias = options.bias === false ? null : parameterOf([outFeatures], biasInit, options.parts?.bias);
  }

  forward(x: Tensor): Tensor {
    return ops.linear(x, this.weight.tensor, this.bias?.tensor ?? null);
  }
}

/** `y = x W + b` with the weight stored `[in, out]`, as GPT-2's checkpoints have it. */
export class LinearInOut extends Module<[Tensor], Tensor> {
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(
    inFeatures: number,
    outFeatures: number,
    init: Initializer,
    biasInit: Initializer,
    parts: LinearParts | null = null,
  ) {
    super();
    this.weight = parameterOf([inFeatures, outFeatures], init, parts?.weight);
    this.bias = parameterOf([outFeatures], biasInit, parts?.bias);
  }

  forward(x: Tensor): Tensor {
    const [inFeatures, outFeatures] = this.weight.shape as readonly [number, number];
    const rows = ops.reshape(x, [-1, inFeatures]);
    const y = ops.addmm(this.bias.tensor, rows, this.weight.tensor);
    return ops.reshape(y, [...x.shape.slice(0, -1), outFeatures]);
  }
}
