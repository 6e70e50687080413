/** From the `optimizer` section of the configuration to an optimizer. */
import type { UpdateRule } from '../native/binding.ts';
import { adamw } from './adamw.ts';
import { lion } from './lion.ts';
import type { Optimizer } from './optimizer.ts';
import { sgd } from './sgd.ts';

export interface OptimizerSettings {
  readonly name: UpdateRule;
  readonly learningRate: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weightDecay: number;
  readonly momentum: number;
  readonly nesterov: boolean;
}

/** Settings that the named rule does not use are ignored. */
export function optimizerFrom(settings: OptimizerSettings): Optimizer {
  if (settings.name === 'adamw') return adamw(settings);
  if (settings.name === 'lion') return lion(settings);
  return sgd(settings);
}
