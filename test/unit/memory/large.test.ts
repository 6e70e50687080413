import { describe, expect, it } from 'vitest';
import { GiB } from '../../../src/core/units.ts';
import {
  describeMachine,
  estimateTrace,
  forecastPlan,
  layOut,
  planStep,
  simulate,
  unroll,
} from '../../../src/memory/index.ts';
import { llama70b, llamaParameters } from './models.ts';

describe('Llama 70B on 24 GiB + 128 GiB + 2 TB', () => {
  const layout = layOut(llamaParameters(llama70b));
  const machine = describeMachine({
    gpuMemory: '24GiB',
    cpuMemory: '128GiB',
    nvme: '2TB',
    tflops: 150,
    pcie: 25,
    diskRead: 10,
    diskWrite: 7,
  });
  const trace = estimateTrace({
    layout,
    machine,
    mode: 'training',
    tokens: 8192,
    microBatches: 4,
    accumulation: 'vertical',
    recompute: true,
    nonModelBytes: () => 4 * GiB,
  });
  const input = {
    layout,
    trace,
    types: { computeBytes: 2, stateBytes: 4 },
    machine,
    budgets: machine.capacityBytes,
  } as const;

  it('is planned, runs without a fault on the null device, and is forecast', () => {
    const plan = planStep(input);
    const simulation = simulate(unroll(plan, trace, layout, 4), machine);
    const forecast = forecastPlan(plan, layout, machine, trace, 4 * 8192);
    for (const tier of ['gpu', 'host', 'nvme'] as const) {
      const { peakBytes, budgetBytes, parameterBytes, stateBytes, undoBytes, passingBytes, otherBytes } =
        forecast.tiers[tier];
      expect(peakBytes).toBeLessThanOrEqual(budgetBytes);
      expect(peakBytes).toBe(simulation.peakBytes[tier]);
      expect(parameterBytes + stateBytes + undoBytes + passingBytes + otherBytes).toBe(peakBytes);
      expect(undoBytes).toBeGreaterThanOrEqual(0);
    }
    const elements = layout.chunks.reduce((sum, chunk) => sum + chunk.elements, 0);
    const homes = Object.values(forecast.tiers).reduce((sum, tier) => sum + tier.parameterBytes + tier.stateBytes, 0);
    expect(homes).toBe(elements * 14);
    expect(forecast.limiter).toBe('disk');
    expect(forecast.stepSeconds).toBeGreaterThanOrEqual(forecast.computeSeconds);
    expect(forecast.stepSeconds).toBeGreaterThanOrEqual(forecast.bound.seconds);
  }, 180_000);
});
