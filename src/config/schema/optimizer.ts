import { z } from 'zod';
import { bool, oneOf, orNull, real } from './fields.ts';

function isRegExp(source: string): boolean {
  try {
    new RegExp(source);
    return true;
  } catch {
    return false;
  }
}

const beta = () => z.number().min(0).lt(1);

const groupSchema = z.strictObject({
  match: z
    .string()
    .min(1)
    .refine(isRegExp)
    .meta({ type: 'a regular expression' })
    .describe('Parameters whose name it matches belong to this group; the first group that matches wins.'),
  learningRate: orNull(real({ min: 0 }))
    .default(null)
    .describe("Peak learning rate; null takes the optimizer's."),
  weightDecay: orNull(real({ min: 0 }))
    .default(null)
    .describe("Weight decay; null takes the optimizer's."),
  frozen: bool().default(false).describe('Leave these parameters as they are.'),
});

export const optimizerSchema = z
  .strictObject({
    name: oneOf(['adamw', 'sgd', 'lion']).default('adamw').describe('Update rule.'),
    states: oneOf(['exact', 'compressed'])
      .default('exact')
      .describe(
        'exact: fp32 master and moments. compressed (adamw): moments in 8 bits: weights and states take 6 bytes a parameter in bf16 instead of 14, in chunks on tiers 8; docs/precision.md says at what price.',
      ),
    learningRate: real({ min: 0 }).default(3e-4).describe('Peak learning rate, reached after warm-up.'),
    betas: z
      .tuple([beta(), beta()])
      .meta({ type: 'two numbers >= 0 and < 1' })
      .default([0.9, 0.95])
      .describe('Decay of the first and second moment (adamw, lion).'),
    eps: real({ above: 0 }).default(1e-8).describe('Added to the root of the second moment (adamw).'),
    weightDecay: real({ min: 0 }).default(0.1).describe('Decoupled weight decay.'),
    momentum: real({ min: 0, below: 1 }).default(0.9).describe('Momentum (sgd).'),
    nesterov: bool().default(false).describe("Nesterov's form of momentum (sgd)."),
    decayNormsAndBiases: bool().default(false).describe('Apply weight decay to norms and biases too.'),
    groups: z.array(groupSchema).default([]).describe('Parameters with settings of their own.'),
  })
  .prefault({})
  .describe('How gradients become updates.');
