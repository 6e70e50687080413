import type { Tensor } from '../tensor/index.ts';
import type { AnyModule, Module } from './module.ts';
import type { Parameter } from './parameter.ts';

/** What happens to a unit's activations between its forward and its backward. */
export type ActivationPolicy =
  | 'keep' // the graph stays; parameters' bytes may leave and come back under it
  | 'recompute' // only the inputs stay; forward runs again in backward (Chen et al. 2016)
  | 'park'; // as recompute, with the inputs' bytes moved to another tier meanwhile

export interface UnitOptions {
  /**
   * What the unit asks for itself. `keep` holds whatever the policy of all units is: for graphs that are small, or needed at
   * once. The others hold where that policy is `keep`. Default: nothing.
   */
  readonly activations?: ActivationPolicy;
}

export type Pass = 'forward' | 'backward';

/** The piece of a model that is fetched, computed and released together: an embedding, a block, the head with its loss. */
export class Unit {
  readonly module: AnyModule;
  /** What is done. */
  activations: ActivationPolicy;
  readonly #asked: ActivationPolicy | null;
  /** Position among the model's units, in the order of the tree; -1 until `collectUnits` ran. */
  index = -1;
  /** The module's path in the model. */
  name = '';
  /** Its parameters, tied ones included, each once; without those that other ranks have. */
  parameters: readonly Parameter[] = [];
  /** It computes nothing: it is there to hand gradients over that were summed elsewhere. */
  gradientsOnly = false;

  constructor(module: Module<never, unknown> | object, options: UnitOptions) {
    this.module = module as AnyModule;
    this.#asked = options.activations ?? null;
    this.activations = this.#asked ?? 'keep';
  }

  /** Takes the policy of all units, as far as the unit does not ask for another: see `UnitOptions`. */
  follow(policy: ActivationPolicy): void {
    const asked = this.#asked ?? policy;
    this.activations = policy === 'keep' || asked === 'keep' ? asked : policy;
  }
}

/**
 * What the tape needs from memory and communication. The tape owns this interface; whoever moves parameters implements
 * it and the engine plugs it in.
 */
export interface UnitHost {
  /** Makes the unit's parameters usable on the compute device. */
  acquire(unit: Unit, pass: Pass): void;
  /** The unit's parameters are not needed until its next pass. */
  release(unit: Unit, pass: Pass): void;
  /**
   * Gradients of one use of the unit, parallel to its trainable parameters; null where the use did not depend on a
   * parameter. Called once per use and micro-batch, in the order of backward; ownership of the tensors passes over.
   */
  gradientsReady(unit: Unit, use: number, gradients: readonly (Tensor | null)[]): void;
  /** Moves the bytes of a saved input away; the tensor object stays. */
  park(input: Tensor): void;
  /** Brings parked bytes back into the same tensor object. */
  unpark(input: Tensor): void;
}

/** Numbers the model's units, names them and lists their parameters. A model without units becomes one unit. */
export function collectUnits(model: AnyModule): Unit[] {
  const units = new Set<Unit>();
  visit(model, '', units);
  if (units.size === 0) visit(model.unit(), '', units);
  return [...units];
}

/** Outermost units in the order of the tree; what lies below a unit belongs to it. */
function visit(module: AnyModule, path: string, units: Set<Unit>): void {
  const unit = module.asUnit;
  if (unit === null) {
    for (const [name, child] of module.children()) visit(child, path === '' ? name : `${path}.${name}`, units);
  } else if (!units.has(unit)) {
    unit.index = units.size;
    unit.name = path === '' ? 'model' : path;
    unit.parameters = module.parameters().filter(({ isHere }) => isHere);
    units.add(unit);
  }
}

/** Parameters that lie outside every unit: the tape could not give them gradients. */
export function parametersOutsideUnits(model: AnyModule, units: readonly Unit[]): string[] {
  const inside = new Set(units.flatMap((unit) => unit.parameters));
  return Array.from(model.namedParameters())
    .filter(([, parameter]) => parameter.isHere && !inside.has(parameter))
    .map(([name]) => name);
}
