import { checkRange, type Optimizer } from './optimizer.ts';

export interface LionOptions {
  readonly learningRate?: number;
  readonly betas?: readonly [number, number];
  readonly weightDecay?: number;
}

/**
 * Lion (Chen et al. 2023): the sign of an interpolated momentum, decoupled weight decay, one moment per parameter.
 * Wants a learning rate three to ten times smaller than AdamW's. Throws `E_ARGUMENT` for numbers out of range.
 */
export function lion(options: LionOptions = {}): Optimizer {
  const { learningRate = 1e-4, betas = [0.9, 0.99], weightDecay = 0 } = options;
  const [beta1, beta2] = betas;
  checkRange('lion: learningRate', learningRate);
  checkRange('lion: betas[0]', beta1, 1);
  checkRange('lion: betas[1]', beta2, 1);
  checkRange('lion: weightDecay', weightDecay);
  return { rule: 'lion', defaults: { learningRate, weightDecay, beta1, beta2, eps: 0, momentum: 0, nesterov: false } };
}
