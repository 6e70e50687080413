/**
 * A model that is a sequence of units: each takes what the one before returned. Such a model can be run stage by stage
 * over many micro-batches (vertical accumulation) and be cut into pipeline stages.
 */
import type { Tensor } from '../tensor/index.ts';

/** `Batch` is whatever the model's stages need beside the running tensor: token ids, labels, a cache. */
export interface SequenceModel<Batch> {
  /** Number of units in the sequence. */
  readonly stages: number;
  /** Runs stage `index`; `x` is null for the first. The last returns the result: logits, or the loss with labels. */
  runStage(index: number, x: Tensor | null, batch: Batch): Tensor;
}

/** Runs all stages one after another and disposes what lies between them. */
export function runSequence<Batch>(model: SequenceModel<Batch>, batch: Batch): Tensor {
  let x = model.runStage(0, null, batch);
  for (let index = 1; index < model.stages; index++) {
    const next = model.runStage(index, x, batch);
    if (next !== x) x.dispose();
    x = next;
  }
  return x;
}

/** Whether `model` can be run stage by stage. */
export function isSequenceModel(model: object): model is SequenceModel<unknown> {
  return 'stages' in model && 'runStage' in model;
}
