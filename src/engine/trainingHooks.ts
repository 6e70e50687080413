/** What `tierra train` hangs into the loop: progress and evaluation. */
import type { Config } from '../config/index.ts';
import { BatchSource, type TokenBatch, type TokenDataset } from '../data/index.ts';
import { type Progress, ThroughputMeter } from '../telemetry/index.ts';
import type { Hook } from './hooks.ts';
import { nonFiniteText } from './numerics/nonFiniteError.ts';
import type { Trainer } from './trainer.ts';

/** Tells `progress` about every step. */
export function reporting(progress: Progress): Hook {
  const meter = new ThroughputMeter();
  return {
    beforeStep: () => meter.begin(performance.now()),
    afterStep(trainer, summary) {
      meter.end(performance.now(), summary.tokens);
      progress.step({
        ...summary,
        tokensPerSecond: meter.tokensPerSecond,
        secondsLeft: meter.secondsFor(trainer.totalSteps - summary.step),
        memory: trainer.engine.store.use(),
      });
      const { step, nonFinite, overflow, lossScale, origin } = summary;
      if (!overflow || origin !== null) return;
      progress.note(`step ${step}: fp16 gradients overflowed at loss scale ${lossScale}, nothing was updated`, {
        kind: 'scale',
        step,
        details: { parameter: nonFinite, lossScale },
      });
    },
    onNonFinite(_trainer, summary, action) {
      const { step, origin, nonFinite } = summary;
      const then = {
        skip: nonFinite === null ? 'its gradients are finite and were used' : 'nothing was updated',
        rewind: 'going back to the last checkpoint, to leave this batch out',
        stop: 'the run ends here',
      }[action];
      const kind = action === 'rewind' ? 'rewind' : 'skip';
      progress.warn(`${nonFiniteText(summary)}; ${then}`, { kind, step, details: { ...origin } });
    },
  };
}

/** Mean loss on the validation set before the first step, every `train.evaluateEvery` steps and at the end: the same batches each time. */
export function evaluating(config: Config, validation: TokenDataset | null, progress: Progress): Hook {
  const { evaluateEvery, evaluateBatches, batchSize } = config.train;
  if (validation === null || validation.sequences === 0) return {};
  let evaluated = -1;
  const evaluate = async (trainer: Trainer): Promise<void> => {
    const step = trainer.engine.steps;
    if (step === evaluated) return;
    evaluated = step;
    const { rank, size } = trainer.engine.ranks.rows;
    // Where there is less than a sequence for each rank, all look at the same.
    const share = validation.sequences >= size ? { rank, ranks: size } : { rank: 0, ranks: 1 };
    const most = Math.min(batchSize, validation.sequences);
    const perBatch = most - (most % share.ranks);
    const data = new BatchSource(validation, { batchSize: perBatch, seed: config.seed, shuffle: true, ...share });
    const batches = Math.min(evaluateBatches, data.batchesPerEpoch);
    const loss = await (trainer as unknown as Trainer<TokenBatch>).evaluate(data, batches);
    progress.evaluation({ step, loss });
  };
  return {
    async beforeTrain(trainer) {
      if (evaluateEvery !== null && trainer.engine.steps === 0) await evaluate(trainer);
    },
    async afterStep(trainer, { step }) {
      if (evaluateEvery !== null && step % evaluateEvery === 0) await evaluate(trainer);
    },
    async afterTrain(trainer) {
      if (!trainer.interrupted) await evaluate(trainer);
    },
  };
}
