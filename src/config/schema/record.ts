import { z } from 'zod';
import { integer, orNull, text } from './fields.ts';

export const recordSchema = z
  .strictObject({
    store: text('file')
      .default('runs/tierra.db')
      .describe('SQLite store of what every run measured; `tierra runs` reads it.'),
    tensorboard: z
      .union([z.boolean(), z.string().min(1)])
      .meta({ type: 'true, false, or folder' })
      .default(false)
      .describe('Write TensorBoard event files: true into tensorboard/ in the output folder, or into a folder.'),
    prometheus: orNull(z.union([integer({ min: 1, max: 65535 }), z.string().min(1)]).meta({ type: 'port, or file' }))
      .default(null)
      .describe('Serve current values for Prometheus on a port of 127.0.0.1, or keep them in a *.prom file.'),
  })
  .nullable()
  .prefault({})
  .describe('What is kept of a run besides checkpoints. `record: null` keeps nothing.');
