import { describe, expect, it } from 'vitest';
import {
  adamw,
  constant,
  cosine,
  groupParameters,
  hyperparametersAt,
  lion,
  momentsOf,
  optimizerFrom,
  sgd,
  stateBytesPerParameter,
} from '../../../src/optim/index.ts';

const named = [{ name: 'w', shape: [2, 2] }];
const groupOf = (optimizer: ReturnType<typeof adamw>) => groupParameters(named, optimizer).groups[0]!;

describe('optimizers', () => {
  it('have the defaults of torch.optim and of the paper', () => {
    expect(adamw().defaults).toMatchObject({
      learningRate: 1e-3,
      beta1: 0.9,
      beta2: 0.999,
      eps: 1e-8,
      weightDecay: 0.01,
    });
    expect(sgd().defaults).toMatchObject({ learningRate: 1e-3, momentum: 0, weightDecay: 0, nesterov: false });
    expect(lion().defaults).toMatchObject({ learningRate: 1e-4, beta1: 0.9, beta2: 0.99, weightDecay: 0 });
  });

  it('say what state they keep', () => {
    expect(momentsOf(adamw())).toEqual({ first: true, second: true });
    expect(momentsOf(sgd())).toEqual({ first: false, second: false });
    expect(momentsOf(sgd({ momentum: 0.9 }))).toEqual({ first: true, second: false });
    expect([adamw(), lion(), sgd()].map((optimizer) => stateBytesPerParameter(optimizer))).toEqual([12, 8, 4]);
    expect(stateBytesPerParameter(adamw(), 8)).toBe(24);
  });

  it('refuse numbers out of range', () => {
    expect(() => adamw({ betas: [1, 0.9] })).toThrow('betas[0] must be a number >= 0 and < 1');
    expect(() => adamw({ eps: 0 })).toThrow('eps must be > 0');
    expect(() => adamw({ learningRate: Number.POSITIVE_INFINITY })).toThrow('learningRate');
    expect(() => sgd({ nesterov: true })).toThrow('nesterov needs momentum');
    expect(() => lion({ weightDecay: -0.1 })).toThrow('weightDecay');
  });

  it('are made from settings', () => {
    const settings = {
      learningRate: 0.5,
      betas: [0.8, 0.9] as const,
      eps: 1e-6,
      weightDecay: 0.2,
      momentum: 0.7,
      nesterov: true,
    };
    expect(optimizerFrom({ name: 'adamw', ...settings })).toEqual(adamw({ ...settings }));
    expect(optimizerFrom({ name: 'lion', ...settings })).toEqual(lion({ ...settings }));
    expect(optimizerFrom({ name: 'sgd', ...settings }).defaults).toMatchObject({
      momentum: 0.7,
      nesterov: true,
      beta1: 0,
    });
  });
});

describe('hyperparametersAt', () => {
  it('corrects the bias of the first update fully', () => {
    const group = groupOf(adamw({ betas: [0.9, 0.99] }));
    expect(hyperparametersAt(0, group, constant())).toMatchObject({
      biasCorrection1: 1 - 0.9,
      biasCorrection2: 1 - 0.99,
      lr: 1e-3,
    });
    const tenth = hyperparametersAt(9, group, constant());
    // 1 - beta^10 = (1 - beta) (1 + beta + ... + beta^9)
    const series = (beta: number) =>
      Array.from({ length: 10 }, (_, i) => beta ** i).reduce((a, b) => a + b) * (1 - beta);
    expect(tenth.biasCorrection1).toBeCloseTo(series(0.9), 12);
    expect(tenth.biasCorrection2).toBeCloseTo(series(0.99), 12);
  });

  it('multiplies the group rate with the schedule, and decay with neither', () => {
    const group = groupOf(adamw({ learningRate: 0.5, weightDecay: 0.3 }));
    const at = hyperparametersAt(5, group, cosine({ totalSteps: 10 }));
    expect(at.lr).toBeCloseTo(0.25, 14);
    expect(at.weightDecay).toBe(0.3);
  });

  it('leaves the corrections of other rules at 1', () => {
    expect(hyperparametersAt(3, groupOf(lion()), constant())).toMatchObject({ biasCorrection1: 1, biasCorrection2: 1 });
  });

  it('refuses a step that is none', () => {
    expect(() => hyperparametersAt(-1, groupOf(sgd()), constant())).toThrow('whole number');
  });
});
