/** Gradients of a unit as one buffer per flat, in the type of all sums, ready to be added up over ranks. */
import type { Parameter, Unit } from '../../nn/index.ts';
import { type Dtype, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { type Flat, gapsOf, gatheredElements } from './flats.ts';

/**
 * The flat's gradients laid out like its parameters; one that is null, as a parameter that nothing depended on has, counts
 * as zero. The caller disposes.
 */
export function flattenGradients(
  flat: Flat,
  ranks: number,
  gradientOf: (parameter: Parameter) => Tensor | null,
  options: { readonly dtype: Dtype; readonly device: string },
): Tensor {
  return noGrad(() =>
    scope(() => {
      const buffer = ops.empty([gatheredElements(flat, ranks)], options);
      for (const [from, to] of gapsOf(flat, ranks)) ops.zeroInPlace(ops.slice(buffer, 0, from, to));
      for (const { parameter, offset } of flat.parameters) {
        const place = ops.slice(buffer, 0, offset, offset + parameter.elements);
        const gradient = gradientOf(parameter);
        if (gradient === null) ops.zeroInPlace(place);
        else ops.copyInto(place, ops.reshape(gradient, [-1]));
      }
      return buffer;
    }),
  );
}

/**
 * Runs `body`, which plans memory, with room taken for the sums that `LocalSums` will keep: one of every trainable
 * parameter of every unit.
 */
export function withRoomForSums(
  units: readonly Unit[],
  options: { readonly dtype: Dtype; readonly device: string },
  body: () => void,
): void {
  const elements = units
    .flatMap(({ parameters }) => parameters)
    .reduce((sum, parameter) => sum + (parameter.trainable ? parameter.elements : 0), 0);
  const room = noGrad(() => ops.empty([elements], options)).keep();
  try {
    body();
  } finally {
    room.dispose();
  }
}

/**
 * Gradients of a step whose micro-batches are added up on each rank before anything is sent: one sum per parameter and use,
 * micro-batches ascending.
 */
export class LocalSums {
  readonly #wide: Dtype;
  readonly #microBatches: number;
  readonly #byUse = new Map<string, { count: number; readonly sums: (Tensor | null)[] }>();

  constructor(wide: Dtype, microBatches: number) {
    this.#wide = wide;
    this.#microBatches = microBatches;
  }

  /** Adds one micro-batch's gradients, whose ownership passes over. Returns the sums with the last one, null before. */
  add(use: string, gradients: readonly (Tensor | null)[]): readonly (Tensor | null)[] | null {
    const entry = this.#byUse.get(use) ?? { count: 0, sums: gradients.map(() => null) };
    this.#byUse.set(use, entry);
    for (const [index, gradient] of gradients.entries()) {
      if (gradient === null) continue;
      const sum = entry.sums[index]!;
      if (sum === null) entry.sums[index] = this.#copy(gradient);
      else ops.addInPlace(sum, gradient);
      gradient.dispose();
    }
    if (++entry.count < this.#microBatches) return null;
    this.#byUse.delete(use);
    return entry.sums;
  }

  /** libtorch may return one buffer for two gradients: what will be added to must be a copy. */
  #copy(gradient: Tensor): Tensor {
    return noGrad(() =>
      (gradient.dtype === this.#wide ? ops.clone(gradient) : ops.to(gradient, { dtype: this.#wide })).keep(),
    );
  }

  clear(): void {
    for (const { sums } of this.#byUse.values()) for (const sum of sums) sum?.dispose();
    this.#byUse.clear();
  }
}
