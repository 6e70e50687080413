/**
 * Vertical accumulation: all micro-batches pass one unit before the next is fetched, so that each parameter moves once
 * per pass whatever their number (GreedySnake, 2025). Sums keep their order, micro-batches ascending, and random keys
 * belong to the micro-batch: losses and gradients are those of the horizontal order, bit for bit.
 */
import { TierraError } from '../core/errors.ts';
import type { PipelineStep } from '../dist/pipeline/index.ts';
import { randomKeys, Tape, type Unit, type UnitHost } from '../nn/index.ts';
import type { SequenceModel } from '../nn/sequence.ts';
import type { Tensor } from '../tensor/index.ts';

export interface VerticalStep<Batch> extends PipelineStep<Batch> {
  readonly model: SequenceModel<Batch>;
  /** The model's units, in the order of its stages. */
  readonly units: readonly Unit[];
  readonly host: UnitHost;
}

/** Forward and backward of all micro-batches; returns their losses, which belong to the caller's scope. */
export function runVertical<Batch>(given: VerticalStep<Batch>): Tensor[] {
  const { model, units, host, batches, seed, step, scale, keyOf } = given;
  if (units.length !== model.stages) {
    throw new TierraError(
      'E_UNSUPPORTED',
      `vertical accumulation: the model has ${model.stages} stages and ${units.length} units`,
      {
        hint: 'Make every stage of the sequence one unit, or set memory.accumulation: horizontal.',
      },
    );
  }
  const tapes = batches.map(() => new Tape(host));
  try {
    for (const index of batches.keys()) randomKeys.begin({ seed, step, microBatch: keyOf(index) });
    const running: (Tensor | null)[] = batches.map(() => null);
    for (const [stage, unit] of units.entries()) {
      host.acquire(unit, 'forward');
      try {
        for (const [microBatch, batch] of batches.entries()) {
          randomKeys.select(keyOf(microBatch));
          const before = running[microBatch]!;
          const after = tapes[microBatch]!.record(() => model.runStage(stage, before, batch));
          if (before !== after) before?.dispose();
          running[microBatch] = after;
        }
      } finally {
        host.release(unit, 'forward');
      }
    }
    const losses = running as Tensor[];
    for (const [microBatch, tape] of tapes.entries()) tape.begin(losses[microBatch]!, { scale });
    for (const unit of [...units].reverse()) {
      host.acquire(unit, 'backward');
      try {
        for (const tape of tapes) while (tape.backwardOne() === 'glue');
      } finally {
        host.release(unit, 'backward');
      }
    }
    return losses;
  } finally {
    for (const tape of tapes) tape.clear();
  }
}
