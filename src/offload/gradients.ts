/**
 * Gradients of one step before the update, in the canonical order: one accumulator per use of a parameter (unit and
 * call), micro-batches ascending, uses added in the order backward met them in the first micro-batch.
 */
import type { Parameter } from '../nn/index.ts';
import { type Dtype, ops, type Tensor } from '../tensor/index.ts';

export class GradientAccumulators {
  readonly #byParameter = new Map<Parameter, Map<string, Tensor>>();
  readonly #wide: Dtype;
  readonly #accumulates: boolean;

  /** `wide` is the type of all sums: over micro-batches where `accumulates`, and over uses. */
  constructor(wide: Dtype, accumulates: boolean) {
    this.#wide = wide;
    this.#accumulates = accumulates;
  }

  /** Adds `gradient`, whose ownership passes over, to the accumulator of `use`. */
  add(parameter: Parameter, use: string, gradient: Tensor): void {
    let uses = this.#byParameter.get(parameter);
    if (uses === undefined) {
      uses = new Map();
      this.#byParameter.set(parameter, uses);
    }
    const sum = uses.get(use);
    if (sum === undefined) uses.set(use, this.#first(gradient));
    else {
      ops.addInPlace(sum, gradient);
      gradient.dispose();
    }
  }

  /** libtorch may return one buffer for two gradients: what will be added to must be a copy. */
  #first(gradient: Tensor): Tensor {
    if (!this.#accumulates) return gradient.keep();
    const sum = this.#copy(gradient);
    gradient.dispose();
    return sum;
  }

  #copy(gradient: Tensor): Tensor {
    return (gradient.dtype === this.#wide ? ops.clone(gradient) : ops.to(gradient, { dtype: this.#wide })).keep();
  }

  /** The parameter's total, or null when nothing depended on it. The caller must not dispose it. */
  total(parameter: Parameter): Tensor | null {
    const uses = this.#byParameter.get(parameter);
    if (uses === undefined) return null;
    const [first, ...others] = uses.values();
    if (others.length === 0) return first!;
    const sum = this.#copy(first!);
    for (const other of others) {
      ops.addInPlace(sum, other);
      other.dispose();
    }
    first!.dispose();
    this.#byParameter.set(parameter, new Map([['total', sum]]));
    return sum;
  }

  /** `gradient` becomes the parameter's total; ownership passes over. */
  replace(parameter: Parameter, gradient: Tensor): void {
    this.drop(parameter);
    this.#byParameter.set(parameter, new Map([['total', gradient.keep()]]));
  }

  /** Frees the parameter's gradient. */
  drop(parameter: Parameter): void {
    for (const tensor of this.#byParameter.get(parameter)?.values() ?? []) tensor.dispose();
    this.#byParameter.delete(parameter);
  }

  clear(): void {
    for (const parameter of [...this.#byParameter.keys()]) this.drop(parameter);
  }
}
