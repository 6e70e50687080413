import { check } from '../core/errors.ts';
import type { UpdateGroup } from '../native/binding.ts';
import type { GroupSettings } from './groups.ts';
import type { Schedule } from './schedules/schedule.ts';

/**
 * The numbers that a kernel needs for one group's next update, complete. `step` is the number of updates already made:
 * the schedule is asked for it, and Adam's t is one more. Bias corrections are computed here, once, so that every device
 * divides by the same bits.
 */
export function hyperparametersAt(step: number, group: GroupSettings, schedule: Schedule): UpdateGroup {
  check(Number.isSafeInteger(step) && step >= 0, `a step is a whole number >= 0, got ${step}`);
  const { learningRate, weightDecay, beta1, beta2, eps, momentum, nesterov } = group.hyperParameters;
  const corrects = group.rule === 'adamw';
  return {
    lr: learningRate * schedule.rateAt(step),
    beta1,
    beta2,
    eps,
    weightDecay,
    biasCorrection1: corrects ? 1 - beta1 ** (step + 1) : 1,
    biasCorrection2: corrects ? 1 - beta2 ** (step + 1) : 1,
    momentum,
    nesterov,
  };
}
