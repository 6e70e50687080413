import { TierraError } from '../core/errors.ts';
import type { Tensor } from '../tensor/index.ts';
import type { Initializer } from './init.ts';

/** Elements `begin` to `end` (not included) of a dimension. */
export interface PartRange {
  readonly begin: number;
  readonly end: number;
}

/** Of which whole tensor a parameter is one rank's part: for each dimension the ranges it holds, one after the other. */
export interface WholeOf {
  readonly shape: readonly number[];
  readonly ranges: readonly (readonly PartRange[])[];
  /** Which of the ranks with this same part this is; the first, 0, answers for it. Default 0. */
  readonly copy?: number;
}

/**
 * A trainable tensor that exists before it has memory: shape and initialiser are known at construction, elements only
 * once it is placed. The same `Parameter` object in two modules is a tied parameter.
 */
export class Parameter {
  readonly shape: readonly number[];
  /** Fills the whole tensor, also where this is only a part of it. */
  readonly initializer: Initializer;
  /** The tensor that other ranks hold the other parts of; null: this is all of it. */
  readonly whole: WholeOf | null;
  /** False freezes it: no gradient, no optimizer state. */
  trainable = true;
  /** False: another rank has it. It keeps its place, name and shape in the model, and never gets memory here. */
  isHere = true;
  /** The path of its first occurrence in the model, set by `nameParameters`. */
  name = '';
  #tensor: Tensor | null = null;

  constructor(shape: readonly number[], initializer: Initializer, whole: WholeOf | null = null) {
    this.shape = shape;
    this.initializer = initializer;
    this.whole = whole;
  }

  /** This rank's part of a whole tensor; its initialiser fills the whole. */
  static part(whole: WholeOf, initializer: Initializer): Parameter {
    const shape = whole.ranges.map((ranges) => ranges.reduce((sum, { begin, end }) => sum + end - begin, 0));
    return new Parameter(shape, initializer, whole);
  }

  get elements(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  get isPlaced(): boolean {
    return this.#tensor !== null;
  }

  /** The placed tensor, a leaf of autograd. Throws `E_STATE` before placement. */
  get tensor(): Tensor {
    if (this.#tensor === null) {
      throw new TierraError('E_STATE', `parameter ${this.name || `of shape [${this.shape}]`} has no memory yet`, {
        hint: 'Call initialize({ model, … }) or placeParameters(model, …) before running the model.',
      });
    }
    return this.#tensor;
  }

  /** Gives the parameter its tensor (ownership passes over); a former one is disposed. */
  place(tensor: Tensor): void {
    if (tensor.shape.join() !== this.shape.join()) {
      throw new TierraError(
        'E_ARGUMENT',
        `parameter ${this.name} has shape [${this.shape}], got a tensor of [${tensor.shape}]`,
      );
    }
    this.#tensor?.dispose();
    this.#tensor = tensor.keep().requireGrad(this.trainable);
  }

  /** Frees the tensor; the parameter can be placed again. */
  unplace(): void {
    this.#tensor?.dispose();
    this.#tensor = null;
  }
}
