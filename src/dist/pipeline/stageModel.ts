import { type AnyModule, Module, nameParameters, type Parameter, type Unit } from '../../nn/index.ts';
import type { StageRange } from './partition.ts';

/**
 * The part of a model that lies on one rank, for whoever places parameters: the units of its stages and their parameters,
 * under the names they have in the whole model. Everything else of the model never gets memory.
 */
export class StageModel extends Module<never, never> {
  readonly units: readonly Unit[];
  readonly #named: readonly (readonly [string, Parameter])[];

  /** `shared`: the unit of parameters that other ranks hold too, where gradients need one. */
  constructor(model: AnyModule, allUnits: readonly Unit[], own: readonly StageRange[], shared: Unit | null = null) {
    super();
    nameParameters(model);
    const units = own.flatMap(({ first, end }) => allUnits.slice(first, end));
    this.units = shared === null ? units : [...units, shared];
    const held = new Set(this.units.flatMap((unit) => unit.parameters));
    this.#named = Array.from(model.namedParameters()).filter(([, parameter]) => held.has(parameter));
  }

  override *namedParameters(): Generator<readonly [string, Parameter]> {
    yield* this.#named;
  }

  forward(): never {
    throw new Error('a rank runs its stages one by one');
  }
}
