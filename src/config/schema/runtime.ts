import { z } from 'zod';
import { bool, integer, oneOf, orNull, orWord, real, text } from './fields.ts';

export const runtimeSchema = z
  .strictObject({
    threads: orWord('auto', integer({ min: 1, max: 4096 }))
      .default('auto')
      .describe('Threads for operators on the CPU.'),
    optimizerThreads: orWord('auto', integer({ min: 1, max: 4096 }))
      .default('auto')
      .describe('Threads for the optimizer on the CPU.'),
    deterministic: bool().default(true).describe('Use only kernels that give the same bits on every run.'),
    graphs: oneOf(['auto', 'always', 'never'])
      .default('auto')
      .describe(
        "Record a micro-batch's launches on a GPU once and replay them as one (CUDA graphs), where nothing moves between tiers or ranks; auto does where the GPU waits for launches and the model is one of Tierra's own.",
      ),
    watchdog: orNull(real({ above: 0 }))
      .default(600)
      .describe('Seconds without any progress after which the run says what it waits for; null does not watch.'),
    trace: orNull(text('file'))
      .default(null)
      .describe('Write a timeline for Perfetto or chrome://tracing to this file.'),
  })
  .prefault({})
  .describe('How this process uses the machine.');
