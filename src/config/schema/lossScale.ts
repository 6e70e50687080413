import { z } from 'zod';
import { integer, orNull, real } from './fields.ts';

export const lossScaleSchema = z
  .strictObject({
    constant: orNull(real({ above: 0 }))
      .default(null)
      .describe('A scale that never changes; null lets it move as the other keys say.'),
    initial: real({ above: 0 }).default(65536).describe('The first scale.'),
    growthFactor: real({ above: 1 })
      .default(2)
      .describe('What the scale is multiplied with after growthInterval good steps.'),
    backoffFactor: real({ above: 0, below: 1 })
      .default(0.5)
      .describe('What the scale is multiplied with after an overflow.'),
    growthInterval: integer({ min: 1 }).default(1000).describe('Good steps in a row before the scale grows.'),
    hysteresis: integer({ min: 1 })
      .default(2)
      .describe('The overflow, counted since the scale last grew, with which backing off begins.'),
    minimum: real({ above: 0 }).default(1).describe('The scale never falls below.'),
    maximum: real({ above: 0 })
      .default(2 ** 32)
      .describe('The scale never rises above.'),
  })
  .prefault({})
  .describe(
    'What the loss is multiplied with in precision fp16, so that small gradients do not vanish; docs/precision.md explains it.',
  );
