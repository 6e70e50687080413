import { z } from 'zod';
import { integer, oneOf, orWord } from './fields.ts';

const degree = (what: string) => integer({ min: 1 }).default(1).describe(`Degree of ${what}.`);

const pipelineSchema = z
  .strictObject({
    schedule: oneOf(['gpipe', '1f1b', 'interleaved', 'zb-h1', 'zbv'])
      .default('1f1b')
      .describe(
        'Order of work on each rank. interleaved: several stages a rank, a smaller bubble; zb-h1, zbv: weight gradients fill the bubble.',
      ),
    chunks: orWord('auto', integer({ min: 1 }))
      .default('auto')
      .describe('Stages per rank; auto is 2 for interleaved and zbv, else 1.'),
    cuts: z
      .union([z.enum(['balanced', 'uniform']), z.array(z.int().min(1))])
      .meta({ type: 'balanced | uniform, or a list of integers' })
      .default('balanced')
      .describe(
        'Where the model is cut: balanced by matmul work, uniform by number of units, or the first unit of every stage but the first.',
      ),
  })
  .prefault({})
  .describe('How parallel.pp ranks work together. train.accumulate is the number of micro-batches.');

export const parallelSchema = z
  .strictObject({
    dp: degree('data parallelism'),
    pp: degree('pipeline parallelism'),
    tp: degree('tensor parallelism'),
    sp: degree('sequence parallelism'),
    ep: degree('expert parallelism'),
    pipeline: pipelineSchema,
    backend: oneOf(['auto', 'nccl', 'gloo'])
      .default('auto')
      .describe('What moves bytes between ranks; auto is NCCL on GPUs and Gloo on the CPU.'),
  })
  .prefault({})
  .describe('How ranks divide the work.');
