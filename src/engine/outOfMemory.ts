import type { Config } from '../config/index.ts';
import { isTierraError, TierraError } from '../core/errors.ts';

/** An out-of-memory error with what the engine was doing and which settings would need less; other errors unchanged. */
export function explainOutOfMemory(error: unknown, doing: string, { train, data, memory }: Config): unknown {
  if (!isTierraError(error, 'E_OUT_OF_MEMORY')) return error;
  const smaller = [
    ...(train.batchSize > 1 ? [`train.batchSize (now ${train.batchSize}) smaller and train.accumulate larger`] : []),
    `data.sequenceLength (now ${data.sequenceLength}) smaller`,
    ...(memory.activations === 'keep' ? ['memory.activations: recompute'] : []),
  ];
  return new TierraError('E_OUT_OF_MEMORY', `${doing}: ${error.message}`, {
    hint: `Less is live at once with ${smaller.join(', or ')}. Or raise the budget, memory.gpu.`,
    details: error.details,
    cause: error,
  });
}
