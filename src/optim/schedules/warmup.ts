import { check } from '../../core/errors.ts';
import { checkFraction, checkSteps, type DecayOptions, type Schedule, type WarmupOptions } from './schedule.ts';

/** Linear warm-up, then `after(stepsSinceWarmup)`. */
export function withWarmup(name: string, options: WarmupOptions, after: (step: number) => number): Schedule {
  const { warmupSteps = 0 } = options;
  checkSteps(`${name}: warmupSteps`, warmupSteps);
  const { warmupFrom = 1 / (warmupSteps + 1) } = options;
  checkFraction(`${name}: warmupFrom`, warmupFrom);
  return {
    name,
    rateAt(step) {
      if (step >= warmupSteps) return after(step - warmupSteps);
      return warmupFrom + (1 - warmupFrom) * (step / warmupSteps);
    },
  };
}

/**
 * Warm-up, then a decay from 1 to `minRateFraction`: `shape` maps progress in [0, 1] to what is left of the way, 1 to 0.
 */
export function decaying(name: string, options: DecayOptions, shape: (progress: number) => number): Schedule {
  const { totalSteps, warmupSteps = 0, minRateFraction = 0 } = options;
  checkSteps(`${name}: totalSteps`, totalSteps);
  checkFraction(`${name}: minRateFraction`, minRateFraction);
  check(warmupSteps <= totalSteps, `${name}: warmupSteps ${warmupSteps} exceeds totalSteps ${totalSteps}`);
  const decaySteps = totalSteps - warmupSteps;
  return withWarmup(name, options, (step) => {
    const progress = step >= decaySteps ? 1 : step / decaySteps;
    return minRateFraction + (1 - minRateFraction) * shape(progress);
  });
}
