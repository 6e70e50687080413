/** What a configuration can ask for and this version cannot do is refused before anything is placed. */
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/index.ts';
import { checkCompressedStates } from '../../src/engine/precision/compressedAllowed.ts';
import { initialize, launch } from '../../src/index.ts';
import { Gpt2 } from '../../src/models/index.ts';
import { adamw } from '../../src/optim/index.ts';
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

  it.each([
    [{ parallel: { tp: 2, pp: 2 } }, 'cpu', 'is not there yet under parallel.tp and parallel.pp'],
    [{}, 'cuda:1', 'is updated by the CPU only, and without memory: budgets states are on cuda:1'],
    [{ memory: { gpu: '1GiB', policy: 'off' } }, 'cuda:0', 'is updated by the CPU only, and without memory:'],
    [
      { memory: { policy: 'static', static: { gpuStates: 0.5 } } },
      'cuda:0',
      'is updated by the CPU only, and memory.static.gpuStates puts states on cuda:0',
    ],
    [{ memory: { gpu: '1GiB' } }, 'cuda:0', null],
    [{ memory: { cpu: '1GiB' }, parallel: { zero: 3 } }, 'cpu', null],
  ] as const)('compressed states: %j on %s', (config, device, message) => {
    const context = launch({ device: 'cpu', train: { steps: 1 }, optimizer: { states: 'compressed' }, ...config });
    const check = () => checkCompressedStates({ ...context, device }, adamw());
    if (message === null) check();
    else expect(check).toThrow(`optimizer.states: compressed ${message}`);
  });
});
