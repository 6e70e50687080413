/**
 * Scopes release temporaries: every tensor made while a scope is open belongs to it and is disposed when the scope
 * closes, unless it is returned, kept, or disposed before. Memory never waits for the garbage collector.
 */
import { native } from '../native/load.ts';
import type { Tensor } from './tensor.ts';

class Scope {
  readonly parent: Scope | null;
  readonly tensors: Tensor[] = [];

  constructor(parent: Scope | null) {
    this.parent = parent;
  }
}

export type { Scope };

let current: Scope | null = null;

/** The scope that new tensors join; null outside any scope, where the caller disposes by hand. */
export function currentScope(): Scope | null {
  return current;
}

/** Opens a scope that outlives one function; close it with `closeScope`. Prefer `scope`. */
export function openScope(): Scope {
  current = new Scope(current);
  return current;
}

/** Closes `scope`, which must be the innermost, and disposes what it owns except tensors in `results`. */
export function closeScope(scope: Scope, results?: unknown): void {
  if (scope !== current) throw new Error('scopes must close in the reverse order of opening');
  current = scope.parent;
  forEachTensor(results, (tensor) => tensor.moveTo(scope, scope.parent));
  const handles = new Float64Array(scope.tensors.length);
  let count = 0;
  for (const tensor of scope.tensors) {
    const handle = tensor.surrender(scope);
    if (handle !== null) handles[count++] = handle;
  }
  if (count > 0) native().releaseMany(handles, count);
}

/**
 * Runs `body` in a scope and returns its result. Tensors anywhere in the result (arrays, plain objects) move to the
 * surrounding scope; all others made inside are disposed, also when `body` throws.
 */
export function scope<Result>(body: () => Result): Result {
  const inner = openScope();
  let result: Result | undefined;
  try {
    result = body();
    return result;
  } finally {
    closeScope(inner, result);
  }
}

/** Visits every tensor inside nested arrays and plain objects. */
export function forEachTensor(value: unknown, visit: (tensor: Tensor) => void): void {
  mapTensors(value, (tensor) => {
    visit(tensor);
    return tensor;
  });
}

/** A copy of nested arrays and plain objects with every tensor replaced; other values are passed through. */
export function mapTensors<Value>(value: Value, replace: (tensor: Tensor) => Tensor): Value {
  if (value === null || typeof value !== 'object') return value;
  if (isTensor(value)) return replace(value) as Value;
  if (Array.isArray(value)) return value.map((item) => mapTensors(item, replace)) as Value;
  if (Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapTensors(item, replace)])) as Value;
  }
  return value;
}

export const tensorBrand = Symbol('tensor');

function isTensor(value: object): value is Tensor {
  return tensorBrand in value;
}
