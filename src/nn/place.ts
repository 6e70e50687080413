import { seedFor } from '../core/hash.ts';
import type { DeviceName } from '../native/binding.ts';
import { native } from '../native/load.ts';
import { type Dtype, noGrad, ops, scope, type Tensor } from '../tensor/index.ts';
import type { AnyModule } from './module.ts';
import type { Parameter } from './parameter.ts';

/** Gives every parameter its path as name; tied ones the first. */
export function nameParameters(model: AnyModule): void {
  for (const [name, parameter] of model.namedParameters()) parameter.name = name;
}

/**
 * The initial values of one parameter: drawn in fp32 on the CPU (fp64 when asked for) with a generator keyed by seed and name, so that
 * they depend on neither device nor order, then rounded to `dtype`. A part of a tensor gets its part of the whole's values.
 */
export function initialValues(parameter: Parameter, seed: number, dtype: Dtype): Tensor {
  return noGrad(() =>
    scope(() => {
      native().seed('cpu', seedFor(seed, parameter.name));
      const { shape } = parameter.whole ?? parameter;
      const values = ops.empty(shape, { dtype: dtype === 'float64' ? 'float64' : 'float32' });
      parameter.initializer(values);
      return ops.to(partOf(values, parameter), { dtype });
    }),
  );
}

/** What this rank's parameter holds of a whole tensor; the tensor itself where it holds all. */
export function partOf(whole: Tensor, parameter: Parameter): Tensor {
  if (parameter.whole === null) return whole;
  return parameter.whole.ranges.reduce((part, ranges, dim) => {
    const slices = ranges.map(({ begin, end }) => ops.slice(part, dim, begin, end));
    return slices.length === 1 ? ops.contiguous(slices[0]!) : ops.cat(slices, dim);
  }, whole);
}

/** Gives the first values of a parameter, in any floating type on any device; the caller disposes them. */
export type ValueSource = (parameter: Parameter) => Tensor;

/** What parameters held before their memory was taken from them. */
export interface TakenValues {
  /** Null for a parameter that had no memory; the caller disposes the tensor, not what it is a view of. */
  valueOf(parameter: Parameter): Tensor | null;
  /** Nothing is asked for any more. */
  free(): void;
  /** Parameters have their memory again. */
  giveBack(): void;
}

/** Takes every placed parameter's memory, so that its values can go where a store wants them. */
export function takeValues(model: AnyModule): TakenValues {
  const taken = new Map<Parameter, Tensor>();
  for (const parameter of model.parameters()) {
    if (!parameter.isPlaced) continue;
    taken.set(parameter, noGrad(() => ops.detach(parameter.tensor)).keep());
    parameter.unplace();
  }
  return {
    valueOf(parameter) {
      const value = taken.get(parameter);
      return value === undefined ? null : ops.detach(value);
    },
    free() {
      for (const value of taken.values()) value.dispose();
      taken.clear();
    },
    giveBack() {
      for (const [parameter, value] of taken) parameter.place(value);
      taken.clear();
    },
  };
}

export interface PlaceOptions {
  readonly seed: number;
  readonly dtype: Dtype;
  readonly device: DeviceName;
  /** Default: the initialisers, keyed by `seed`. */
  readonly values?: ValueSource;
}

/** Gives every unplaced parameter that this rank has memory on `device` and its first values. */
export function placeParameters(model: AnyModule, options: PlaceOptions): void {
  const { seed, dtype, device, values = (parameter) => initialValues(parameter, seed, dtype) } = options;
  nameParameters(model);
  for (const parameter of model.parameters()) {
    if (parameter.isPlaced || !parameter.isHere) continue;
    parameter.place(noGrad(() => scope(() => ops.to(values(parameter), { dtype, device }))));
  }
}
