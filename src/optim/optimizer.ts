/** An optimizer is a plain value: which rule, and with which numbers. Work is done by the kernels in `native/src/optim`. */
import { check } from '../core/errors.ts';
import type { UpdateRule } from '../native/binding.ts';

/** Everything any rule multiplies with; what a rule does not use is 0, or false. */
export interface HyperParameters {
  /** Peak learning rate; the schedule multiplies it. */
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly momentum: number;
  readonly nesterov: boolean;
}

export interface Optimizer {
  readonly rule: UpdateRule;
  readonly defaults: HyperParameters;
}

/** Which state tensors, beside the master weights, the rule keeps per parameter. */
export function momentsOf(optimizer: Optimizer): { readonly first: boolean; readonly second: boolean } {
  return {
    first: optimizer.rule !== 'sgd' || optimizer.defaults.momentum !== 0,
    second: optimizer.rule === 'adamw',
  };
}

/** Bytes of optimizer state per parameter, master weights included: 12 for AdamW in fp32. */
export function stateBytesPerParameter(optimizer: Optimizer, stateElementBytes: 4 | 8 = 4): number {
  const moments = momentsOf(optimizer);
  return stateElementBytes * (1 + Number(moments.first) + Number(moments.second));
}

/** Checks `value` against [0, below) and names it in the error. */
export function checkRange(name: string, value: number, below = Number.POSITIVE_INFINITY): void {
  const range = below === Number.POSITIVE_INFINITY ? 'a finite number >= 0' : `a number >= 0 and < ${below}`;
  check(Number.isFinite(value) && value >= 0 && value < below, `${name} must be ${range}, got ${value}`);
}
