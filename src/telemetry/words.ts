import { formatBytes, formatCount, formatSeconds } from '../core/units.ts';
import { tierNames } from './memorySummary.ts';
import type { EvaluationReport, RunFinish, RunStart, SavedReport, TierUse } from './progress.ts';

/** How numbers are worded, the same in every kind of output. */
export const lossText = (loss: number): string => (Number.isFinite(loss) ? loss.toFixed(4) : String(loss));

export const rateText = (rate: number): string => (rate === 0 ? '0' : rate.toExponential(2));

export const normText = (norm: number): string => (Number.isFinite(norm) ? norm.toPrecision(3) : String(norm));

export const speedText = (tokensPerSecond: number | undefined): string =>
  tokensPerSecond === undefined ? '- tokens/s' : `${formatCount(Math.round(tokensPerSecond))} tokens/s`;

/** Whole seconds, rounded up, so that a countdown ends at zero. */
export function leftText(seconds: number | undefined): string {
  if (seconds === undefined) return '-';
  return seconds < 60 ? `${Math.ceil(seconds)}s` : formatSeconds(seconds);
}

export const tierText = ({ tier, label }: TierUse): string => label ?? tierNames[tier];

export const memoryText = ({ usedBytes, budgetBytes }: TierUse): string =>
  `${formatBytes(usedBytes)} of ${formatBytes(budgetBytes)}`;

export function startText(run: RunStart): string {
  const from = run.completedSteps === 0 ? '' : `, from step ${run.completedSteps}`;
  return `${run.name}: ${formatCount(run.parameters)} parameters, ${run.precision} on ${run.device}, ${run.totalSteps} steps${from}`;
}

export const evaluationText = ({ step, loss }: EvaluationReport): string =>
  `step ${step}: evaluation loss ${lossText(loss)}`;

export const savedText = ({ step, path }: SavedReport): string => `step ${step}: saved ${path}`;

export function finishText({ outcome, step, seconds, path }: RunFinish): string {
  const verb = outcome === 'completed' ? 'finished at' : 'stopped at';
  const where = path === null ? 'no checkpoint was saved' : `checkpoint ${path}`;
  return `${verb} step ${step} after ${formatSeconds(seconds)}, ${where}`;
}
