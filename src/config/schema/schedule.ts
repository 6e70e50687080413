import { z } from 'zod';
import { fraction, integer, oneOf, orNull, real } from './fields.ts';

export const scheduleSchema = z
  .strictObject({
    name: oneOf(['cosine', 'linear', 'constant', 'polynomial', 'onecycle'])
      .default('cosine')
      .describe('Shape of the learning rate after warm-up.'),
    warmupSteps: orNull(integer({ min: 0 }))
      .default(null)
      .describe('Steps of linear warm-up. Give warmupSteps or warmupFraction.'),
    warmupFraction: orNull(fraction())
      .default(null)
      .describe('Warm-up as a share of all steps; 0.05 (onecycle: 0.3) when neither is given.'),
    minRateFraction: fraction().default(0.1).describe('Last learning rate as a share of the peak.'),
    power: real({ above: 0 }).default(1).describe('Exponent (polynomial).'),
  })
  .prefault({})
  .describe('How the learning rate changes over the run.');
