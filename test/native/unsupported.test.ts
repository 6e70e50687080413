/** What a configuration can ask for and this version cannot do is refused before anything is placed. */
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/index.ts';
import { initialize, launch } from '../../src/index.ts';
import { Gpt2 } from '../../src/models/index.ts';
import { tinyGpt2 } from '../cases/models.ts';

const start = (config: ConfigInput) => {
  const context = launch({ device: 'cpu', train: { steps: 1 }, ...config });
  return initialize({ context, model: new Gpt2(tinyGpt2()), totalSteps: 1 });
};

describe('refused', () => {
  it.each([
    [{ optimizer: { states: 'compressed', name: 'lion' } }, 'is for adamw, and the optimizer is lion'],
    [
      { optimizer: { states: 'compressed' }, precision: 'fp16' },
      'works with bf16 and fp32, and training is in float16',
    ],
  ] as const)('compressed states: %j', (config, message) => {
    expect(() => start(config)).toThrow(`optimizer.states: compressed ${message}`);
  });
});
