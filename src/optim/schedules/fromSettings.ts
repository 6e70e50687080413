/** From the `schedule` section of the configuration to a schedule. */
import { check } from '../../core/errors.ts';
import { constant } from './constant.ts';
import { cosine } from './cosine.ts';
import { linear } from './linear.ts';
import { oneCycle } from './oneCycle.ts';
import { polynomial } from './polynomial.ts';
import type { Schedule } from './schedule.ts';

export interface ScheduleSettings {
  readonly name: 'cosine' | 'linear' | 'constant' | 'polynomial' | 'onecycle';
  /** One of the two at most; none means no warm-up (one-cycle: three tenths of the run). */
  readonly warmupSteps: number | null;
  readonly warmupFraction: number | null;
  readonly minRateFraction: number;
  readonly power: number;
}

/** The schedule of a run of `totalSteps` updates. */
export function scheduleFrom(settings: ScheduleSettings, totalSteps: number): Schedule {
  const { name, warmupSteps, warmupFraction, minRateFraction, power } = settings;
  check(warmupSteps === null || warmupFraction === null, 'schedule: give warmupSteps or warmupFraction, not both');
  const steps = warmupSteps ?? (warmupFraction === null ? null : Math.round(warmupFraction * totalSteps));
  const warmup = steps === null ? {} : { warmupSteps: steps };
  if (name === 'constant') return constant(warmup);
  if (name === 'linear') return linear({ totalSteps, minRateFraction, ...warmup });
  if (name === 'cosine') return cosine({ totalSteps, minRateFraction, ...warmup });
  if (name === 'polynomial') return polynomial({ totalSteps, minRateFraction, power, ...warmup });
  return oneCycle({ totalSteps, minRateFraction, ...warmup });
}
