import type { Progress, StepReport } from '../../../src/telemetry/index.ts';

export const report = (step: number, loss: number): StepReport => ({
  step,
  loss,
  learningRate: 3e-4,
  gradientNorm: 0.91234,
  tokensPerSecond: step === 1 ? undefined : 12_345,
  secondsLeft: step === 1 ? undefined : 130 - step,
  memory: [
    { tier: 'gpu', usedBytes: 48 * 2 ** 20, budgetBytes: 64 * 2 ** 20 },
    { tier: 'host', usedBytes: 2 ** 30, budgetBytes: 4 * 2 ** 30 },
  ],
});

export const begin = (progress: Progress, completedSteps = 0): void =>
  progress.start({
    name: 'tiny',
    totalSteps: 8,
    completedSteps,
    parameters: 1_234_567,
    device: 'cpu',
    precision: 'fp32',
  });

/** A whole run of eight steps with everything that can happen in one. */
export function tellRun(progress: Progress): void {
  begin(progress);
  progress.note('tokenized 3 files');
  for (let step = 1; step <= 8; step++) {
    progress.step(report(step, 5 - step / 2));
    if (step === 4) {
      progress.evaluation({ step, loss: 3.25 });
      progress.saved({ step, path: 'runs/tiny/step-4' });
      progress.warn('the disk is slow');
    }
  }
  progress.finish({ outcome: 'completed', step: 8, seconds: 130, path: 'runs/tiny/step-8' });
}
