import { expect, it } from 'vitest';
import { resolveConfig } from '../../../src/config/index.ts';
import { orderAsked } from '../../../src/engine/microBatchOrder.ts';

const asked = (memory: object): string => orderAsked(resolveConfig({ memory }).memory);

it('goes unit by unit by itself only where activations are not kept', () => {
  expect(asked({})).toBe('horizontal');
  expect(asked({ activations: 'recompute' })).toBe('auto');
  expect(asked({ activations: 'host' })).toBe('auto');
  expect(asked({ accumulation: 'vertical' })).toBe('vertical');
  expect(asked({ accumulation: 'horizontal', activations: 'recompute' })).toBe('horizontal');
});
