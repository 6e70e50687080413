/** Squared norms of one step's gradients, per parameter, taken where the gradient is complete. */
import { native } from '../../native/load.ts';
import type { Parameter } from '../../nn/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import { type GlobalNorm, globalNorm } from '../clipping.ts';

export class StepNorms {
  readonly #threads: number;
  readonly #sums = new Map<Parameter, { readonly sum: number; readonly nonFinite: number }>();

  constructor(threads: number) {
    this.#threads = threads;
  }

  begin(): void {
    this.#sums.clear();
  }

  /** `total` is the parameter's whole gradient of this step, contiguous. */
  take(parameter: Parameter, total: Tensor): void {
    this.#sums.set(parameter, native().sumSquares(total.handle, this.#threads));
  }

  has(parameter: Parameter): boolean {
    return this.#sums.has(parameter);
  }

  /** Over `parameters` in their order; those without a gradient count as zero. */
  total(parameters: readonly Parameter[], clipNorm: number | null, lossScale: number): GlobalNorm {
    const sums = parameters.map((parameter) => ({
      parameter,
      ...(this.#sums.get(parameter) ?? { sum: 0, nonFinite: 0 }),
    }));
    return globalNorm(sums, clipNorm, lossScale);
  }
}
