import { describe, expect, it } from 'vitest';
import { gradientOrigin, originText } from '../../../src/engine/numerics/origin.ts';
import { NonFinitePolicy } from '../../../src/engine/numerics/policy.ts';
import type { Unit } from '../../../src/nn/index.ts';

describe('the policy', () => {
  it('bears `limit` bad steps in a row, and counts anew after a good one', () => {
    const policy = new NonFinitePolicy({ action: 'skip', limit: 2 });
    expect([policy.bad(1), policy.bad(2)]).toEqual(['skip', 'skip']);
    policy.good(3);
    expect([policy.bad(4), policy.bad(5), policy.bad(6)]).toEqual(['skip', 'skip', 'stop']);
    expect([policy.inARow, policy.total]).toEqual([3, 5]);
  });

  it('stops at once where it is told to', () => {
    expect(new NonFinitePolicy({ action: 'stop', limit: 5 }).bad(1)).toBe('stop');
  });

  it('does not take the steps that a rewind makes again for progress', () => {
    const policy = new NonFinitePolicy({ action: 'rewind', limit: 2 });
    const answers: string[] = [];
    for (let round = 0; round < 3; round++) {
      for (let step = 5; step < 8; step++) policy.good(step);
      answers.push(policy.bad(8));
    }
    expect(answers).toEqual(['rewind', 'rewind', 'stop']);
    policy.good(8);
    expect(policy.inARow).toBe(3);
    policy.good(9);
    expect(policy.inARow).toBe(0);
  });
});

describe('where bad gradients appeared first', () => {
  const unit = (name: string, ...parameters: string[]): Unit =>
    ({ name, parameters: parameters.map((each) => ({ name: each })) }) as unknown as Unit;
  const units = [
    unit('embedding', 'wte'),
    unit('block.0', 'a', 'b'),
    unit('block.1', 'c', 'd'),
    unit('head', 'norm', 'wte'),
  ];

  it.each([
    [['wte', 'a', 'b', 'c', 'd', 'norm'], 'head', 'norm'],
    [['wte', 'a', 'b', 'd'], 'block.1', 'd'],
    [['wte', 'a'], 'block.0', 'a'],
    [['wte'], 'head', 'wte'],
  ])('%j', (suspects, name, parameter) => {
    expect(gradientOrigin(units, suspects)).toEqual({ kind: 'gradient', microBatch: null, unit: name, parameter });
  });

  it('is unknown when a second look finds nothing', () => {
    const origin = gradientOrigin(units, []);
    expect(origin.kind).toBe('gone');
    expect(originText(origin)).toContain('hardware');
  });
});
