import type { Schedule, WarmupOptions } from './schedule.ts';
import { withWarmup } from './warmup.ts';

/** The peak rate throughout, after warm-up. */
export function constant(options: WarmupOptions = {}): Schedule {
  return withWarmup('constant', options, () => 1);
}
