import { native } from '../../native/load.ts';
import { ForwardRunner, type Parameter, type Unit, type UnitHost, type UnitRunner } from '../../nn/index.ts';
import { isFloating, noGrad, ops, scope, type Tensor } from '../../tensor/index.ts';
import { forEachTensor } from '../../tensor/scope.ts';
import type { NonFiniteOrigin } from './origin.ts';

/** The first unit call of a forward pass that gave infinite or NaN values. */
export interface BadCall {
  readonly unit: Unit;
  /** What it was called with was bad already: it came from the data, or from computation between units. */
  readonly badInput: boolean;
  /** The first of its parameters with bad values. */
  readonly parameter: Parameter | null;
}

/** What one micro-batch's forward pass says about where bad numbers come from; null: nothing. */
export function originOf(found: BadCall | null, lossIsFinite: boolean, microBatch: number): NonFiniteOrigin | null {
  if (found === null) return lossIsFinite ? null : { kind: 'loss', microBatch, unit: null, parameter: null };
  const { unit, badInput, parameter } = found;
  const kind = badInput ? 'input' : parameter !== null ? 'parameter' : 'output';
  return { kind, microBatch, unit: unit.name, parameter: parameter?.name ?? null };
}

/** A forward pass that looks at everything that crosses a unit's edge. Slow: every look waits for the device. */
export class CheckingRunner implements UnitRunner {
  readonly #host: UnitHost;
  readonly #plain: ForwardRunner;
  #found: BadCall | null = null;

  constructor(host: UnitHost) {
    this.#host = host;
    this.#plain = new ForwardRunner(host);
  }

  get found(): BadCall | null {
    return this.#found;
  }

  run<Args extends readonly unknown[], Result>(unit: Unit, args: Args, forward: (...args: Args) => Result): Result {
    if (this.#found !== null) return this.#plain.run(unit, args, forward);
    const badInput = !allFinite(args);
    const result = this.#plain.run(unit, args, forward);
    if (badInput || !allFinite(result)) {
      this.#found = { unit, badInput, parameter: badInput ? null : this.#badParameter(unit) };
    }
    return result;
  }

  #badParameter(unit: Unit): Parameter | null {
    this.#host.acquire(unit, 'forward');
    try {
      return unit.parameters.find(({ tensor }) => !isClean(tensor)) ?? null;
    } finally {
      this.#host.release(unit, 'forward');
    }
  }
}

/** Whether no floating-point tensor in `value` holds an infinity or a NaN. */
export function allFinite(value: unknown): boolean {
  let all = true;
  forEachTensor(value, (tensor) => {
    all &&= isClean(tensor);
  });
  return all;
}

function isClean(tensor: Tensor): boolean {
  if (!isFloating(tensor.dtype)) return true;
  return scope(() => noGrad(() => native().sumSquares(ops.contiguous(tensor).handle, 1).nonFinite === 0));
}
