import { z } from 'zod';
import { dataSchema } from './data.ts';
import { integer, oneOf } from './fields.ts';
import { lossScaleSchema } from './lossScale.ts';
import { memorySchema } from './memory.ts';
import { modelSchema } from './model.ts';
import { optimizerSchema } from './optimizer.ts';
import { parallelSchema } from './parallel.ts';
import { recordSchema } from './record.ts';
import { runtimeSchema } from './runtime.ts';
import { sampleSchema } from './sample.ts';
import { scheduleSchema } from './schedule.ts';
import { trainSchema } from './train.ts';

export type DeviceName = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;

const isDeviceName = (value: unknown): value is DeviceName =>
  typeof value === 'string' && /^(?:auto|cpu|cuda|cuda:(?:0|[1-9]\d{0,2}))$/.test(value);

/** The whole configuration. Strict everywhere: an unknown key is an error. */
export const configSchema = z.strictObject({
  name: z
    .string()
    .regex(/^\w[\w.-]{0,127}$/)
    .meta({ type: 'name of letters, digits, "_", "-" and "."' })
    .default('run')
    .describe('Name of the run.'),
  seed: integer({ min: 0 }).default(1234).describe('Seed of everything that is random.'),
  device: z
    .custom<DeviceName>(isDeviceName)
    .meta({ type: 'auto | cpu | cuda | cuda:N' })
    .default('auto')
    .describe('Where to compute; auto takes the first GPU, else the CPU.'),
  precision: oneOf(['auto', 'fp32', 'bf16', 'fp16', 'fp64'])
    .default('auto')
    .describe(
      'Element type of parameters and activations; auto is fp32 on the CPU and bf16 on CUDA. Optimizer state is fp32 (fp64) always.',
    ),
  model: modelSchema,
  data: dataSchema,
  train: trainSchema,
  optimizer: optimizerSchema,
  lossScale: lossScaleSchema,
  schedule: scheduleSchema,
  memory: memorySchema,
  runtime: runtimeSchema,
  record: recordSchema,
  sample: sampleSchema,
  parallel: parallelSchema,
});

/** What a person may write: everything optional, sizes as text. */
export type ConfigInput = z.input<typeof configSchema>;

/** What the schema makes of it, before defaults that depend on other values. */
export type ParsedConfig = z.output<typeof configSchema>;
