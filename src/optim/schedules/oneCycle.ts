import { check } from '../../core/errors.ts';
import { checkFraction, checkSteps, type Schedule } from './schedule.ts';

export interface OneCycleOptions {
  readonly totalSteps: number;
  /** Length of the rise; the peak is at step warmupSteps - 1. Default: three tenths of the run. */
  readonly warmupSteps?: number;
  /** The factor at step 0. */
  readonly startFraction?: number;
  /** The factor of the last update, at step totalSteps - 1. */
  readonly minRateFraction?: number;
}

/**
 * One cycle (Smith and Topin 2018): half a cosine up to the peak, half a cosine down to almost nothing. The values of
 * `torch.optim.lr_scheduler.OneCycleLR` with `pct_start = warmupSteps / totalSteps`.
 */
export function oneCycle(options: OneCycleOptions): Schedule {
  const { totalSteps, startFraction = 1 / 25, minRateFraction = 1 / 250_000 } = options;
  checkSteps('onecycle: totalSteps', totalSteps);
  const { warmupSteps = Math.round(0.3 * totalSteps) } = options;
  checkSteps('onecycle: warmupSteps', warmupSteps);
  check(warmupSteps <= totalSteps, `onecycle: warmupSteps ${warmupSteps} exceeds totalSteps ${totalSteps}`);
  checkFraction('onecycle: startFraction', startFraction);
  checkFraction('onecycle: minRateFraction', minRateFraction);
  const peak = Math.max(warmupSteps - 1, 0);
  const last = totalSteps - 1;
  return {
    name: 'onecycle',
    rateAt(step) {
      if (step < peak) return anneal(startFraction, 1, step / peak);
      if (step >= last) return last === peak ? 1 : minRateFraction;
      return anneal(1, minRateFraction, (step - peak) / (last - peak));
    },
  };
}

/** From `start` to `end` along half a cosine. */
function anneal(start: number, end: number, progress: number): number {
  return end + ((start - end) / 2) * (1 + Math.cos(Math.PI * progress));
}
