import { TierraError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import { Parameter } from './parameter.ts';
import { runUnit } from './runner.ts';
import { Unit, type UnitOptions } from './unit.ts';

/**
 * A piece of a model. Parameters and child modules are found among the object's own properties (arrays of modules
 * included), in the order of assignment; their property names make up parameter names.
 */
export abstract class Module<Args extends readonly unknown[] = never, Result = unknown> {
  /** Train mode: dropout drops. Set with `train()` and `eval()`. */
  training = true;
  #unit: Unit | null = null;

  /** The computation; call it through `call`. */
  abstract forward(...args: Args): Result;

  /** Runs the module; a unit goes through the active tape. */
  call(...args: Args): Result {
    return this.#unit === null
      ? this.forward(...args)
      : runUnit(this.#unit, args, (...inputs: Args) => this.forward(...inputs));
  }

  /** Marks this module as a unit: fetched, computed and released together. Returns itself. */
  unit(options: UnitOptions = {}): this {
    this.#unit = new Unit(this, options);
    return this;
  }

  /** This module as a unit, or null when it is not one. */
  get asUnit(): Unit | null {
    return this.#unit;
  }

  /** True when `forward` draws random numbers in train mode. */
  get drawsRandom(): boolean {
    return false;
  }

  /**
   * True when a model does the same operations, with the same numbers from the host, for all inputs of the same shapes: what it
   * computes depends on tensors alone, and what is done does not depend on what they hold. Then `runtime.graphs: auto` may record
   * it once and replay it.
   */
  get repeatable(): boolean {
    return false;
  }

  /** Direct children as `[property name, module]`; members of arrays are named `list.0`, `list.1`. */
  *children(): Generator<readonly [string, AnyModule]> {
    for (const [key, value] of Object.entries(this)) {
      if (value instanceof Module) yield [key, value as AnyModule];
      else if (Array.isArray(value)) {
        for (const [index, item] of value.entries()) {
          if (item instanceof Module) yield [`${key}.${index}`, item as AnyModule];
        }
      }
    }
  }

  /** This module and all below it, depth first, with their paths. */
  *namedModules(prefix = ''): Generator<readonly [string, AnyModule]> {
    yield [prefix, this as unknown as AnyModule];
    for (const [name, child] of this.children()) yield* child.namedModules(prefix === '' ? name : `${prefix}.${name}`);
  }

  /** Every parameter once (tied ones at their first path), in the order of the tree. */
  *namedParameters(): Generator<readonly [string, Parameter]> {
    const seen = new Set<Parameter>();
    for (const [name, parameter] of this.allParameterPaths()) {
      if (seen.has(parameter)) continue;
      seen.add(parameter);
      yield [name, parameter];
    }
  }

  /** Every path that leads to a parameter: tied parameters appear once per path. */
  *allParameterPaths(): Generator<readonly [string, Parameter]> {
    for (const [path, module] of this.namedModules()) {
      for (const [key, value] of Object.entries(module)) {
        if (value instanceof Parameter) yield [path === '' ? key : `${path}.${key}`, value];
      }
    }
  }

  parameters(): Parameter[] {
    return Array.from(this.namedParameters(), ([, parameter]) => parameter);
  }

  /** Number of elements of all parameters, tied ones once; of whole tensors where ranks hold parts of them. */
  get parameterCount(): number {
    const count = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
    return this.parameters().reduce((sum, { whole, shape }) => sum + count(whole?.shape ?? shape), 0);
  }

  train(on = true): this {
    for (const [, module] of this.namedModules()) module.training = on;
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** Frees the memory of every parameter, and what else the model keeps; `placeParameters` gives it again. */
  unplace(): void {
    for (const parameter of this.parameters()) parameter.unplace();
  }

  /** The parameter at `name`. Throws `E_ARGUMENT` with the nearest name. */
  parameter(name: string): Parameter {
    const all = new Map(this.allParameterPaths());
    const found = all.get(name);
    if (found === undefined) {
      const near = nearest(name, all.keys());
      throw new TierraError(
        'E_ARGUMENT',
        `the model has no parameter ${name}`,
        near === undefined ? {} : { hint: `Did you mean ${near}?` },
      );
    }
    return found;
  }
}

/** A module of any signature. */
export type AnyModule = Module<never, unknown>;
