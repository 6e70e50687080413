import { check } from '../../core/errors.ts';
import type { DecayOptions, Schedule } from './schedule.ts';
import { decaying } from './warmup.ts';

export interface PolynomialOptions extends DecayOptions {
  readonly power?: number;
}

/** (1 - progress)^power, from the peak to the minimum; power 1 is linear. */
export function polynomial(options: PolynomialOptions): Schedule {
  const { power = 1 } = options;
  check(power > 0 && Number.isFinite(power), `polynomial: power must be > 0, got ${power}`);
  return decaying('polynomial', options, (progress) => (1 - progress) ** power);
}
