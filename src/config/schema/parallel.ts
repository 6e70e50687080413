import { z } from 'zod';
import { integer, oneOf } from './fields.ts';

const degree = (what: string) => integer({ min: 1 }).default(1).describe(`Degree of ${what}.`);

export const parallelSchema = z
  .strictObject({
    dp: degree('data parallelism'),
    pp: degree('pipeline parallelism'),
    tp: degree('tensor parallelism'),
    sp: degree('sequence parallelism'),
    ep: degree('expert parallelism'),
    backend: oneOf(['auto', 'nccl', 'gloo'])
      .default('auto')
      .describe('What moves bytes between ranks; auto is NCCL on GPUs and Gloo on the CPU.'),
  })
  .prefault({})
  .describe('Degrees of the mesh; all 1 for now.');
