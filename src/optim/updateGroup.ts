import { check } from '../core/errors.ts';
import type { UpdateGroup } from '../native/binding.ts';
import type { GroupSettings } from './groups.ts';
import type { Schedule } from './schedules/schedule.ts';

/**
 * The numbers that a kernel needs for one group's update in step `step` (from 0), complete: the schedule is asked for the
 * step, and Adam's t is one more than `updates`, the updates already made; they are fewer where steps were skipped.
 * Bias corrections are computed here, once, so that every device divides by the same bits.
 */
export function hyperparametersAt(
  step: number,
  group: GroupSettings,
  schedule: Schedule,
  updates: number = step,
): UpdateGroup {
  const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
  check(isCount(step) && isCount(updates), `steps and updates are whole numbers >= 0, got ${step} and ${updates}`);
  const { learningRate, weightDecay, beta1, beta2, eps, momentum, nesterov } = group.hyperParameters;
  const corrects = group.rule === 'adamw';
  return {
    lr: learningRate * schedule.rateAt(step),
    beta1,
    beta2,
    eps,
    weightDecay,
    biasCorrection1: corrects ? 1 - beta1 ** (updates + 1) : 1,
    biasCorrection2: corrects ? 1 - beta2 ** (updates + 1) : 1,
    momentum,
    nesterov,
  };
}
