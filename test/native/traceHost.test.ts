/** What a watched micro-batch says of a unit's time. */
import { afterEach, expect, it } from 'vitest';
import { MiB } from '../../src/core/units.ts';
import { native } from '../../src/native/load.ts';
import { type AnyModule, collectUnits, Linear, Module } from '../../src/nn/index.ts';
import { TraceHost } from '../../src/offload/chunked/traceHost.ts';
import { ops, type Tensor } from '../../src/tensor/index.ts';

class Alone extends Module<[Tensor], Tensor> {
  readonly layer = new Linear(8, 8).unit();
  forward(x: Tensor): Tensor {
    return this.layer.call(x);
  }
}

afterEach(() => expect([native().liveArenas(), native().liveTensors()]).toEqual([0, 0]));

it('leaves out what parking takes, which a step does beside others’ work', () => {
  const model = new Alone();
  const units = collectUnits(model as AnyModule);
  const host = new TraceHost(units, 'float32', 'cpu');
  const large = ops.zeros([(256 * MiB) / 4]).keep();
  host.acquire(units[0]!);
  const began = performance.now();
  host.park(large);
  host.unpark(large);
  const parkingSeconds = (performance.now() - began) / 1e3;
  host.release(units[0]!, 'backward');
  expect(host.visits[0]!.unparkedBytes).toBe(256 * MiB);
  expect(host.visits[0]!.seconds).toBeLessThan(parkingSeconds / 4);
  large.dispose();
  host.dispose(units);
  for (const parameter of model.parameters()) parameter.unplace();
});
