import { z } from 'zod';
import { integer, orNull, real } from './fields.ts';

export const sampleSchema = z
  .strictObject({
    prompt: z.string().meta({ type: 'text' }).default('').describe('Text to continue; empty starts from nothing.'),
    tokens: integer({ min: 1 }).default(200).describe('Tokens to generate.'),
    temperature: real({ min: 0 }).default(0.8).describe('Above 1 is bolder, 0 always takes the likeliest token.'),
    topK: orNull(integer({ min: 1 }))
      .default(null)
      .describe('Draw from the K likeliest tokens only; null from all.'),
    topP: real({ above: 0, max: 1 })
      .default(1)
      .describe('Draw from the likeliest tokens that together have this probability.'),
    seed: orNull(integer({ min: 0 }))
      .default(null)
      .describe('Seed of the draw; the root seed when not given.'),
  })
  .prefault({})
  .describe('How text is generated.');
