import type { DecayOptions, Schedule } from './schedule.ts';
import { decaying } from './warmup.ts';

/** A straight line from the peak to the minimum. */
export function linear(options: DecayOptions): Schedule {
  return decaying('linear', options, (progress) => 1 - progress);
}
