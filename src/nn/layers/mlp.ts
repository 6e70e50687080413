import { ops, type Tensor } from '../../tensor/index.ts';
import { swiglu } from '../fused.ts';
import type { Initializer } from '../init.ts';
import { type LinearLayer, layers } from '../layerFactory.ts';
import { Module } from '../module.ts';

export type Activation = (x: Tensor) => Tensor;

/** Activations by the names used in Hugging Face configurations. */
export const activations = {
  gelu: (x: Tensor) => ops.gelu(x),
  gelu_new: (x: Tensor) => ops.gelu(x, 'tanh'),
  gelu_pytorch_tanh: (x: Tensor) => ops.gelu(x, 'tanh'),
  silu: (x: Tensor) => ops.silu(x),
  relu: (x: Tensor) => ops.relu(x),
  tanh: (x: Tensor) => ops.tanh(x),
} as const satisfies Record<string, Activation>;

export type ActivationName = keyof typeof activations;

/** Two linear layers with an activation between: width → hidden → width. */
export class MLP extends Module<[Tensor], Tensor> {
  readonly up: LinearLayer;
  readonly down: LinearLayer;
  readonly #activation: Activation;

  constructor(width: number, hidden: number, activation: ActivationName = 'gelu') {
    super();
    this.up = layers().linear(width, hidden, {}, { along: 'out' });
    this.down = layers().linear(hidden, width, {}, { along: 'in' });
    this.#activation = activations[activation];
  }

  forward(x: Tensor): Tensor {
    return this.down.call(this.#activation(this.up.call(x)));
  }
}

/** `down(silu(gate(x)) · up(x))` (Shazeer 2020), no biases unless asked. */
export class SwiGLU extends Module<[Tensor], Tensor> {
  readonly gate: LinearLayer;
  readonly up: LinearLayer;
  readonly down: LinearLayer;
  readonly #activation: Activation;
  readonly #enter = layers().enter;

  constructor(
    width: number,
    hidden: number,
    options: { bias?: boolean; init?: Initializer; activation?: ActivationName } = {},
  ) {
    super();
    const linear = { bias: options.bias ?? false, ...(options.init === undefined ? {} : { init: options.init }) };
    this.gate = layers().linear(width, hidden, linear, { along: 'out', entered: true });
    this.up = layers().linear(width, hidden, linear, { along: 'out', entered: true });
    this.down = layers().linear(hidden, width, linear, { along: 'in' });
    this.#activation = activations[options.activation ?? 'silu'];
  }

  forward(x: Tensor): Tensor {
    const entered = this.#enter(x);
    const [gate, up] = [this.gate.call(entered), this.up.call(entered)];
    return this.down.call(
      this.#activation === activations.silu ? swiglu(gate, up) : ops.mul(this.#activation(gate), up),
    );
  }
}
