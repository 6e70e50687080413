/**
 * Squared norms of one step's gradients, per parameter, taken where the gradient is complete. On a GPU nothing waits for
 * them until the step's norm is asked for.
 */
import { native } from '../native/load.ts';
import type { Parameter } from '../nn/index.ts';
import { adopt, noGrad, ops, scope, type Tensor } from '../tensor/index.ts';
import { type GlobalNorm, globalNorm, type ParameterNorm } from './clipping.ts';

/** Bytes of one result of `sumSquaresStart`. */
const resultBytes = 16;

/** Stores that hold parts of parameters take another than `StepNorms`, which agrees with the holders of the other parts. */
export interface GradientNorms {
  /** Forgets what an unfinished step has left. */
  begin(): void;
  /** `totals` are the whole gradients of `parameters` in this step, contiguous and on one device. */
  take(parameters: readonly Parameter[], totals: readonly Tensor[]): void;
  has(parameter: Parameter): boolean;
  /** Over `parameters` in their order; those without a gradient count as zero. Waits for the device. */
  total(parameters: readonly Parameter[], clipNorm: number | null, lossScale: number): GlobalNorm;
}

/**
 * From the sums of what this process has to those of the whole model, in its parameter order, where other processes have other
 * parts of it. All of them call it at the same point of a step.
 */
export type SumsAgreement = (own: readonly ParameterNorm[]) => readonly ParameterNorm[];

export class StepNorms implements GradientNorms {
  readonly #threads: number;
  readonly #agree: SumsAgreement;
  /** Parameters in the order of the results that are under way, by device. */
  readonly #pending = new Map<string, { readonly parameters: Parameter[]; readonly results: Tensor[] }>();
  readonly #known = new Set<Parameter>();

  constructor(threads: number, agree: SumsAgreement = (own) => own) {
    this.#threads = threads;
    this.#agree = agree;
  }

  begin(): void {
    for (const { results } of this.#pending.values()) for (const result of results) result.dispose();
    this.#pending.clear();
    this.#known.clear();
  }

  take(parameters: readonly Parameter[], totals: readonly Tensor[]): void {
    if (parameters.length === 0) return;
    const { device } = totals[0]!;
    const here = this.#pending.get(device) ?? { parameters: [], results: [] };
    this.#pending.set(device, here);
    here.results.push(
      adopt(
        native().sumSquaresStart(
          totals.map(({ handle }) => handle),
          this.#threads,
        ),
      ).keep(),
    );
    here.parameters.push(...parameters);
    for (const parameter of parameters) this.#known.add(parameter);
  }

  has(parameter: Parameter): boolean {
    return this.#known.has(parameter);
  }

  total(parameters: readonly Parameter[], clipNorm: number | null, lossScale: number): GlobalNorm {
    return globalNorm(this.#agree(this.#sums(parameters)), clipNorm, lossScale);
  }

  /** What was taken of `parameters`, in their order, and is forgotten then. Waits for the device. */
  #sums(parameters: readonly Parameter[]): ParameterNorm[] {
    const found = new Map<Parameter, { readonly sum: number; readonly nonFinite: number }>();
    for (const { parameters: order, results } of this.#pending.values()) {
      const bytes = scope(() => noGrad(() => ops.toBytes(ops.cat(results, 0))));
      const view = new DataView(bytes.buffer);
      for (const [index, parameter] of order.entries()) {
        const at = index * resultBytes;
        found.set(parameter, { sum: view.getFloat64(at, true), nonFinite: Number(view.getBigUint64(at + 8, true)) });
      }
    }
    const sums = parameters.map((parameter) => ({ parameter, ...(found.get(parameter) ?? { sum: 0, nonFinite: 0 }) }));
    this.begin();
    return sums;
  }
}
