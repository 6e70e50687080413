import type { DecayOptions, Schedule } from './schedule.ts';
import { decaying } from './warmup.ts';

/** Half a cosine from the peak to the minimum (SGDR without restarts, Loshchilov and Hutter 2017). */
export function cosine(options: DecayOptions): Schedule {
  return decaying('cosine', options, (progress) => (1 + Math.cos(Math.PI * progress)) / 2);
}
