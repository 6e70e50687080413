import { z } from 'zod';
import { bool, bytes, fraction, oneOf, orWord, pathList, text } from './fields.ts';

const nvmeSchema = z
  .strictObject({
    path: text('folder').nullable().default(null).describe('Short for paths with one folder.'),
    paths: pathList('folder or list of folders')
      .default([])
      .describe(
        'Folders on local disks for parameters and states that do not fit in memory; striped when there are several.',
      ),
    size: orWord('auto', bytes()).default('auto').describe('Disk budget over all folders, in bytes.'),
    backend: oneOf(['auto', 'uring', 'threads'])
      .default('auto')
      .describe('How the disk is driven; auto takes io_uring where it works.'),
    direct: bool().default(true).describe('Bypass the page cache (O_DIRECT) where the file system can.'),
    verify: bool().default(true).describe('Check the checksum of everything that is read back.'),
  })
  .transform(({ path, paths, ...rest }) => ({ paths: path === null ? paths : [path], ...rest }));

const staticSchema = z
  .strictObject({
    gpuParameters: fraction().default(0).describe('Share of parameter bytes that stays on the GPU.'),
    gpuStates: fraction().default(0).describe('Share of optimizer-state bytes that stays on the GPU.'),
    hostParameters: fraction()
      .default(1)
      .describe('Share of the parameter bytes not on the GPU that stays in host memory; the rest goes to disk.'),
    hostStates: fraction()
      .default(1)
      .describe('Share of the optimizer-state bytes not on the GPU that stays in host memory; the rest goes to disk.'),
  })
  .prefault({})
  .describe('Placement under policy: static.');

export const memorySchema = z
  .strictObject({
    gpu: orWord('auto', bytes())
      .default('auto')
      .describe('Budget of device memory in bytes; on a machine without a GPU, of the RAM that plays its part.'),
    cpu: orWord('auto', bytes())
      .default('auto')
      .describe('Budget of host memory for what does not fit on the device, in bytes.'),
    nvme: nvmeSchema.nullable().default(null).describe('Disk tier; null uses no disk.'),
    policy: oneOf(['auto', 'static', 'lru', 'off'])
      .default('auto')
      .describe(
        'Where things live: auto plans from a traced step, static keeps fixed shares, lru evicts what was used longest ago, off keeps everything on the device.',
      ),
    static: staticSchema,
    activations: oneOf(['keep', 'recompute', 'host', 'nvme'])
      .default('keep')
      .describe(
        'Activations between forward and backward: kept, recomputed, or recomputed from inputs parked in host memory or on disk. Units that ask to be kept are, such as the head of a language model.',
      ),
    accumulation: oneOf(['auto', 'horizontal', 'vertical'])
      .default('auto')
      .describe(
        'Order over micro-batches: each through the whole model, or all of them through one unit before the next. auto is vertical where parameters move between tiers and activations are not kept.',
      ),
    chunkSize: orWord('auto', bytes())
      .default('auto')
      .describe('Bytes per parameter chunk; auto searches for the least padding.'),
    checkpoint: orWord('auto', bytes())
      .default('auto')
      .describe(
        'Host memory in which the bytes of a checkpoint wait for the disk while training goes on; auto holds all of them, up to an eighth of what is free.',
      ),
    speculate: oneOf(['auto', 'never', 'always'])
      .default('auto')
      .describe(
        'Update behind the backward pass before the global norm is known, states and all or the parameters alone, and take it back if clipping disagrees.',
      ),
  })
  .prefault({})
  .describe(
    'Budgets per tier, of each rank, and what moves between them. Training gives the same numbers under any of these.',
  );
