import { check } from '../core/errors.ts';
import { checkRange, type Optimizer } from './optimizer.ts';

export interface SgdOptions {
  readonly learningRate?: number;
  readonly momentum?: number;
  readonly nesterov?: boolean;
  readonly weightDecay?: number;
}

/**
 * Stochastic gradient descent with momentum, as `torch.optim.SGD` with dampening 0: weight decay is added to the gradient.
 * Throws `E_ARGUMENT` for numbers out of range, and for Nesterov's form without momentum.
 */
export function sgd(options: SgdOptions = {}): Optimizer {
  const { learningRate = 1e-3, momentum = 0, nesterov = false, weightDecay = 0 } = options;
  checkRange('sgd: learningRate', learningRate);
  checkRange('sgd: momentum', momentum, 1);
  checkRange('sgd: weightDecay', weightDecay);
  check(!nesterov || momentum > 0, 'sgd: nesterov needs momentum > 0');
  return { rule: 'sgd', defaults: { learningRate, weightDecay, beta1: 0, beta2: 0, eps: 0, momentum, nesterov } };
}
