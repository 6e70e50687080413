/**
 * Parameters that nothing depends on count as zero, which trains them wrongly without a word: after the first step they are
 * named, once, if no rank had a gradient for them.
 */
import type { Parameter } from '../../nn/index.ts';
import { noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { Group } from '../group.ts';

export class UnusedParameters {
  readonly #parameters: readonly Parameter[];
  readonly #used = new Set<Parameter>();
  #note: string | null = null;
  #isDone = false;

  /** `parameters`: the trainable ones, in parameter order. */
  constructor(parameters: readonly Parameter[]) {
    this.#parameters = parameters;
  }

  /** Gradients of one use, parallel to `parameters`. */
  see(parameters: readonly Parameter[], gradients: readonly (Tensor | null)[]): void {
    if (this.#isDone) return;
    for (const [index, gradient] of gradients.entries()) if (gradient !== null) this.#used.add(parameters[index]!);
  }

  /** At the end of a step; the first one is looked at, on all ranks of all groups together. */
  stepEnded(groups: readonly (Group | null)[], device: string): void {
    if (this.#isDone || this.#parameters.length === 0) return;
    this.#isDone = true;
    const names = scope(() =>
      noGrad(() => {
        const here = this.#parameters.map((parameter) => (this.#used.has(parameter) ? 1 : 0));
        const anywhere = ops.fromArray(Float64Array.from(here), [here.length], { dtype: 'float64', device });
        for (const group of groups) group?.allReduce(anywhere, 'max').wait();
        const used = ops.toArray(anywhere);
        return this.#parameters.filter((_, index) => used[index] === 0).map(({ name }) => name);
      }),
    );
    this.#used.clear();
    if (names.length === 0) return;
    const more = names.length > 5 ? ` and ${names.length - 5} more` : '';
    const they = names.length === 1 ? 'it counts' : 'they count';
    this.#note = `no rank had a gradient for ${names.slice(0, 5).join(', ')}${more} in the first step: ${they} as zero`;
  }

  notes(): readonly string[] {
    return this.#note === null ? [] : [this.#note];
  }
}
