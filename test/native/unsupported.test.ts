/** What a configuration can ask for and this version cannot do is refused before anything is placed. */
import { tmpdir } from 'node:os';
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
  it.each(['host', 'nvme'] as const)('activations on %s', (activations) => {
    const nvme = { path: tmpdir(), size: '1MiB' };
    expect(() => start({ memory: { activations, nvme } })).toThrow(
      `memory.activations: ${activations} is not there yet`,
    );
  });
});
