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
    dp: orWord('auto', integer({ min: 1 }))
      .default('auto')
      .describe(
        'Degree of data parallelism: ranks that each have all tokens of their part of a batch. auto takes the ranks that the other degrees leave.',
      ),
    zero: integer({ min: 0, max: 3 })
      .default(0)
      .describe(
        'What ranks with other tokens (dp, sp, ep) divide among themselves: 1 optimizer states, 2 gradients too, 3 parameters too; 0 nothing.',
      ),
    replicate: integer({ min: 1 })
      .default(1)
      .describe(
        'Copies of what zero divides: each is spread over dp x sp x ep / replicate ranks that follow each other.',
      ),
    reduce: oneOf(['auto', 'each', 'last'])
      .default('auto')
      .describe(
        'When gradients are summed over ranks: after each micro-batch, or after the last, with whole gradients kept until then. auto: each for zero 2 and 3 and where runtime.deterministic asks for one order, else last.',
      ),
    pp: degree('pipeline parallelism'),
    tp: degree('tensor parallelism'),
    tensor: oneOf(['1d', '2d', '2.5d', '3d'])
      .default('1d')
      .describe(
        'How parallel.tp ranks divide matrices: 1d, along one side; 2d, in blocks over q x q ranks; 2.5d, so in each of parallel.depth layers with other samples; 3d, over a cube. All but 1d divide activations too.',
      ),
    depth: integer({ min: 1 })
      .nullable()
      .default(null)
      .describe('Layers of squares under tensor: 2.5d; parallel.tp is depth x q x q.'),
    sp: degree('sequence parallelism: ranks that each have a part of every sequence'),
    sequence: oneOf(['ring', 'heads', 'scores'])
      .default('ring')
      .describe(
        'How parallel.sp ranks attend to each other: ring, keys and values go around; heads, all-to-all to all tokens of some heads; scores, whole rows of scores on each rank.',
      ),
    ep: degree('expert parallelism: ranks with other rows of a batch that each have a part of the experts'),
    pipeline: pipelineSchema,
    backend: oneOf(['auto', 'nccl', 'gloo'])
      .default('auto')
      .describe('What moves bytes between ranks; auto is NCCL on GPUs and Gloo on the CPU.'),
  })
  .prefault({})
  .describe('How ranks divide the work.');
