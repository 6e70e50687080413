import { type AnyModule, Module, nameParameters, type Parameter, type Unit } from '../../nn/index.ts';
import type { StageRange } from './partition.ts';

/**
 * The part of a model that lies on one rank, for whoever places parameters: the units of its stages and their parameters,
 * under the names they have in the whole model. Everything else of the model never gets memory.
 */
export class StageModel extends Module<never, never> {
  readonly units: readonly Unit[];
  readonly #named: readonly (readonly [string, Parameter])[];

  constructor(model: AnyModule, allUnits: readonly Unit[], own: readonly StageRange[]) {
    super();
    nameParameters(model);
    this.units = own.flatMap(({ first, end }) => allUnits.slice(first, end));
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
