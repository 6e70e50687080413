/**
 * Parameters that nothing depends on count as zero, which trains them wrongly without a word: after the first step they are
 * named, once, if no rank had a gradient for them.
 */
import type { Parameter } from '../../nn/index.ts';
import { noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import type { Copies } from './options.ts';

export class UnusedParameters {
  readonly #parameters: readonly Parameter[];
  readonly #copiesOf: (parameter: Parameter) => Copies;
  readonly #used = new Set<Parameter>();
  #note: string | null = null;
  #isDone = false;

  /** `parameters`: the trainable ones, in parameter order. */
  constructor(parameters: readonly Parameter[], copiesOf: (parameter: Parameter) => Copies) {
    this.#parameters = parameters;
    this.#copiesOf = copiesOf;
  }

  /** Gradients of one use, parallel to `parameters`. */
  see(parameters: readonly Parameter[], gradients: readonly (Tensor | null)[]): void {
    if (this.#isDone) return;
    for (const [index, gradient] of gradients.entries()) if (gradient !== null) this.#used.add(parameters[index]!);
  }

  /** At the end of a step; the first one is looked at, on all ranks that have copies together. */
  stepEnded(device: string): void {
    if (this.#isDone || this.#parameters.length === 0) return;
    this.#isDone = true;
    const unused = new Set(
      [...new Set(this.#parameters.map(this.#copiesOf))].flatMap((copies) => this.#unusedAmong(copies, device)),
    );
    const names = this.#parameters.filter((parameter) => unused.has(parameter)).map(({ name }) => name);
    this.#used.clear();
    if (names.length === 0) return;
    const more = names.length > 5 ? ` and ${names.length - 5} more` : '';
    const they = names.length === 1 ? 'it counts' : 'they count';
    this.#note = `no rank had a gradient for ${names.slice(0, 5).join(', ')}${more} in the first step: ${they} as zero`;
  }

  #unusedAmong(copies: Copies, device: string): Parameter[] {
    const parameters = this.#parameters.filter((parameter) => this.#copiesOf(parameter) === copies);
    return scope(() =>
      noGrad(() => {
        const here = parameters.map((parameter) => (this.#used.has(parameter) ? 1 : 0));
        const anywhere = ops.fromArray(Float64Array.from(here), [here.length], { dtype: 'float64', device });
        for (const group of [copies.shards, copies.replicas]) group?.allReduce(anywhere, 'max').wait();
        const used = ops.toArray(anywhere);
        return parameters.filter((_, index) => used[index] === 0);
      }),
    );
  }

  notes(): readonly string[] {
    return this.#note === null ? [] : [this.#note];
  }
}
