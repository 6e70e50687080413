import { expect, test } from 'vitest';
import { ThroughputMeter } from '../../../src/telemetry/index.ts';

function run(
  meter: ThroughputMeter,
  steps: readonly (readonly [beginMs: number, endMs: number, tokens: number])[],
): void {
  for (const [beginMs, endMs, tokens] of steps) {
    meter.begin(beginMs);
    meter.end(endMs, tokens);
  }
}

test('the first step and the time between steps do not count', () => {
  const meter = new ThroughputMeter();
  run(meter, [[0, 10_000, 100]]);
  expect(meter.tokensPerSecond).toBeUndefined();
  expect(meter.secondsFor(5)).toBeUndefined();
  run(meter, [
    [20_000, 20_500, 100],
    [50_000, 51_500, 300],
  ]);
  expect(meter.tokensPerSecond).toBe(200);
  expect(meter.secondsFor(5)).toBe(5);
});

test('only the window counts', () => {
  const meter = new ThroughputMeter(2);
  run(meter, [
    [0, 1000, 1],
    [0, 1000, 1],
    [0, 1000, 10],
    [0, 1000, 30],
  ]);
  expect(meter.tokensPerSecond).toBe(20);
});

test('an end without a begin has no effect', () => {
  const meter = new ThroughputMeter();
  run(meter, [
    [0, 1000, 1],
    [0, 1000, 8],
  ]);
  meter.end(99_000, 5);
  expect(meter.tokensPerSecond).toBe(8);
});
