/** Who runs unit calls: a tape in training, a forward runner in evaluation, nobody in plain libtorch style. */
import { noGrad, scope } from '../tensor/index.ts';
import { randomKeys } from './randomKeys.ts';
import type { Unit, UnitHost } from './unit.ts';

export interface UnitRunner {
  /** Runs one call of `unit`; `forward(...args)` is its computation. */
  run<Args extends readonly unknown[], Result>(unit: Unit, args: Args, forward: (...args: Args) => Result): Result;
}

let active: UnitRunner | null = null;
let insideUnit = false;

/** Runs `body` with `runner` taking every unit call; units inside units belong to the outer one. */
export function withRunner<Result>(runner: UnitRunner | null, body: () => Result): Result {
  const before = active;
  active = runner;
  try {
    return body();
  } finally {
    active = before;
  }
}

/** Called by `Module.call`: hands the outermost unit to the active runner, or runs it plainly with its random key. */
export function runUnit<Args extends readonly unknown[], Result>(
  unit: Unit,
  args: Args,
  forward: (...args: Args) => Result,
): Result {
  if (insideUnit) return forward(...args);
  if (active !== null) return active.run(unit, args, forward);
  randomKeys.apply(unit, randomKeys.next(unit));
  return runInside(() => forward(...args));
}

/** Runs a unit's forward; calls of units below it are part of it. */
export function runInside<Result>(forward: () => Result): Result {
  const before = insideUnit;
  insideUnit = true;
  try {
    return forward();
  } finally {
    insideUnit = before;
  }
}

/** Forward only: parameters come and go, no graph is made, temporaries end with their unit. */
export class ForwardRunner implements UnitRunner {
  readonly #host: UnitHost;

  constructor(host: UnitHost) {
    this.#host = host;
  }

  run<Args extends readonly unknown[], Result>(unit: Unit, args: Args, forward: (...args: Args) => Result): Result {
    this.#host.acquire(unit, 'forward');
    try {
      randomKeys.apply(unit, randomKeys.next(unit));
      return scope(() => noGrad(() => runInside(() => forward(...args))));
    } finally {
      this.#host.release(unit, 'forward');
    }
  }
}
