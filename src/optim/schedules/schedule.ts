/** A learning-rate schedule: a pure function of the step, so that resuming needs nothing but the step. */
import { check } from '../../core/errors.ts';

export interface Schedule {
  readonly name: string;
  /** The factor on the peak learning rate for the update that follows `step` updates already made. */
  rateAt(step: number): number;
}

export interface WarmupOptions {
  /** Steps of linear warm-up before the shape begins; at step `warmupSteps` the factor is 1. */
  readonly warmupSteps?: number;
  /** The factor at step 0; by default 1 / (warmupSteps + 1), so that no step is spent at a rate of 0. */
  readonly warmupFrom?: number;
}

export interface DecayOptions extends WarmupOptions {
  /** Updates in the whole run, warm-up included. */
  readonly totalSteps: number;
  /** The factor reached after `totalSteps` updates and kept from then on. */
  readonly minRateFraction?: number;
}

export function checkSteps(name: string, steps: number): void {
  check(Number.isSafeInteger(steps) && steps >= 0, `${name} must be a whole number >= 0, got ${steps}`);
}

export function checkFraction(name: string, value: number): void {
  check(value >= 0 && value <= 1, `${name} must be between 0 and 1, got ${value}`);
}
