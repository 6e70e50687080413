import { check } from '../core/errors.ts';
import { checkRange, type Optimizer } from './optimizer.ts';

export interface AdamwOptions {
  readonly learningRate?: number;
  readonly betas?: readonly [number, number];
  readonly eps?: number;
  readonly weightDecay?: number;
}

/**
 * AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019), with the defaults and values of
 * `torch.optim.AdamW`. Throws `E_ARGUMENT` for numbers out of range.
 */
export function adamw(options: AdamwOptions = {}): Optimizer {
  const { learningRate = 1e-3, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 1e-2 } = options;
  const [beta1, beta2] = betas;
  checkRange('adamw: learningRate', learningRate);
  checkRange('adamw: betas[0]', beta1, 1);
  checkRange('adamw: betas[1]', beta2, 1);
  check(eps > 0 && Number.isFinite(eps), `adamw: eps must be > 0, got ${eps}`);
  checkRange('adamw: weightDecay', weightDecay);
  return { rule: 'adamw', defaults: { learningRate, weightDecay, beta1, beta2, eps, momentum: 0, nesterov: false } };
}
