import { z } from 'zod';
import { integer, oneOf, orNull, real, text } from './fields.ts';

export const trainSchema = z
  .strictObject({
    steps: orNull(integer({ min: 1 }))
      .default(null)
      .describe('Optimizer steps to run. Give steps or epochs.'),
    epochs: orNull(real({ above: 0 }))
      .default(null)
      .describe('Passes over the training data; 1 when neither steps nor epochs is given.'),
    batchSize: integer({ min: 1 }).default(8).describe('Sequences per micro-batch, over all data-parallel ranks.'),
    accumulate: integer({ min: 1 }).default(1).describe('Micro-batches per optimizer step.'),
    clipNorm: orNull(real({ above: 0 }))
      .default(1)
      .describe('Largest global norm of the gradient; null does not clip.'),
    nonFinite: oneOf(['skip', 'stop', 'rewind'])
      .default('skip')
      .describe(
        'What to do when a loss or gradient is infinite or NaN: update nothing and go on, end the run, or go back to the last checkpoint and leave the batch out.',
      ),
    nonFiniteLimit: integer({ min: 1 })
      .default(5)
      .describe('Steps with infinite or NaN numbers in a row that are borne; one more ends the run.'),
    logEvery: integer({ min: 1 })
      .default(10)
      .describe('Steps between two lines of progress when output is not a terminal.'),
    evaluateEvery: orNull(integer({ min: 1 }))
      .default(100)
      .describe('Steps between two evaluations; null evaluates at the end only.'),
    evaluateBatches: integer({ min: 1 }).default(20).describe('Micro-batches per evaluation at most.'),
    saveEvery: orNull(integer({ min: 1 }))
      .default(500)
      .describe('Steps between two checkpoints; null saves at the end only.'),
    keepLast: integer({ min: 1 }).default(2).describe('Newest checkpoints to keep.'),
    keepEvery: orNull(integer({ min: 1 }))
      .default(null)
      .describe('Checkpoints whose step is a multiple of this are kept for good; null keeps only the newest.'),
    output: orNull(text('folder'))
      .default(null)
      .describe('Where checkpoints and metrics go; runs/<name> when not given.'),
    resume: text('auto, never, or path of a checkpoint')
      .default('auto')
      .describe('auto continues from the newest checkpoint in output if there is one, never starts afresh.'),
  })
  .prefault({})
  .describe('How long and in what portions to train, and what to keep.');
