import { TierraError } from '../../core/errors.ts';
import type { StepSummary } from '../hooks.ts';
import { originText } from './origin.ts';
import type { NonFinitePolicy, NonFiniteSettings } from './policy.ts';

/** "step 7: the loss is NaN and 3 gradients are not finite, first met in …". */
export function nonFiniteText({ step, loss, origin, nonFinite, nonFiniteParameters }: StepSummary): string {
  const gradients = nonFiniteParameters?.length ?? (nonFinite === null ? 0 : 1);
  const what = [
    ...(Number.isFinite(loss) ? [] : [`the loss is ${Number.isNaN(loss) ? 'NaN' : 'infinite'}`]),
    ...(gradients === 0 ? [] : [`${gradients} gradient${gradients === 1 ? ' is' : 's are'} infinite or NaN`]),
  ].join(' and ');
  return `step ${step}: ${what}${origin === null ? '' : `, ${originText(origin)}`}`;
}

/** Why training ends here. `checkpoint` is the last one, or null. */
export function nonFiniteError(
  summary: StepSummary,
  { action, limit }: NonFiniteSettings,
  policy: NonFinitePolicy,
  checkpoint: string | null,
): TierraError {
  const why =
    action === 'stop'
      ? 'train.nonFinite is stop'
      : policy.inARow > limit
        ? `it is number ${policy.inARow} in a row and train.nonFiniteLimit is ${limit}`
        : 'there is no checkpoint to go back to';
  const last = checkpoint === null ? 'No checkpoint was saved' : `The last checkpoint is ${checkpoint}`;
  return new TierraError('E_NUMERICS', `${nonFiniteText(summary)}; ${why}. ${last}`, {
    hint: 'Look at what is named, and at the batch; lower optimizer.learningRate, lengthen schedule.warmupSteps or lower train.clipNorm. train.nonFinite: rewind goes back to the last checkpoint and leaves the batch out.',
    details: { step: summary.step, origin: summary.origin, inARow: policy.inARow, total: policy.total, checkpoint },
  });
}
