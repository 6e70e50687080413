import { afterEach, describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { call, floats, release, thrown, valuesOf } from './coreSupport.ts';

const stats = () => native().memoryStats('cpu');
const MiB = 2 ** 20;

afterEach(() => {
  native().setMemoryCap('cpu', null);
});

describe('counting', () => {
  it('counts what is live and the most that was', () => {
    const before = stats().allocatedBytes;
    native().resetPeakMemory('cpu');
    const big = call('aten::zeros', [4 * MiB]);
    const held = stats().allocatedBytes - before;
    expect(held).toBeGreaterThanOrEqual(16 * MiB);
    expect(held).toBeLessThan(16 * MiB + 8192);
    const view = call('aten::reshape', big, [4, -1]);
    release(big);
    expect(stats().allocatedBytes - before).toBe(held);
    release(view);
    expect(stats().allocatedBytes).toBe(before);
    expect(stats().peakBytes).toBeGreaterThanOrEqual(before + held);
    native().resetPeakMemory('cpu');
    expect(stats().peakBytes).toBe(before);
  });

  it('wastes at most an eighth and a header, and nothing but page ends from 1 MiB on', () => {
    for (const bytes of [1, 63, 64, 65, 1000, 4097, 70_000, 700_001, MiB - 64, MiB, 3 * MiB + 1, 33 * MiB]) {
      const before = stats().allocatedBytes;
      const tensor = call('aten::empty.memory_format', [bytes], 0);
      const held = stats().allocatedBytes - before;
      expect(held).toBeGreaterThanOrEqual(bytes + 64);
      expect(held).toBeLessThanOrEqual(bytes < MiB - 64 ? bytes * 1.125 + 136 : bytes + 64 + 4095);
      release(tensor);
    }
  });

  it('asks the system for nothing once a loop has settled', () => {
    const step = () => {
      const x = call('aten::ones', [513, 1029]);
      const y = call('aten::relu', x);
      const z = call('aten::cumsum', y, 0);
      release(x, y, z);
    };
    const live = native().liveTensors();
    step();
    step();
    const settled = stats();
    for (let i = 0; i < 20; i++) step();
    expect(stats().systemAllocations).toBe(settled.systemAllocations);
    expect(stats().reservedBytes).toBe(settled.reservedBytes);
    native().emptyCache();
    expect(stats().reservedBytes).toBeLessThan(settled.reservedBytes);
    // Pages that live blocks share with free space stay.
    expect(stats().reservedBytes - stats().allocatedBytes).toBeLessThan(MiB);
    expect(native().liveTensors()).toBe(live);
  });

  it('does not cache without end when sizes never repeat', () => {
    native().emptyCache();
    for (let i = 1; i <= 200; i++) release(call('aten::empty.memory_format', [2 * MiB + i * 4096], 0));
    expect(stats().reservedBytes - stats().allocatedBytes).toBeLessThanOrEqual(Math.max(64 * MiB, stats().peakBytes));
  });

  it('stays flat over 100 000 calls and releases', () => {
    const [x, y] = [floats([1]), floats([2])];
    const add = native().findOperator('aten::add', 'Tensor');
    native().release(native().call(add, x, y) as never);
    const before = { live: native().liveTensors(), ...stats() };
    const many = new Float64Array(10);
    for (let i = 0; i < 10_000; i++) {
      for (let j = 0; j < 10; j++) many[j] = native().call(add, x, y) as number;
      native().releaseMany(many, 10);
    }
    expect(native().liveTensors()).toBe(before.live);
    expect(stats().allocatedBytes).toBe(before.allocatedBytes);
    expect(stats().systemAllocations - before.systemAllocations).toBeLessThanOrEqual(10);
  });
});

describe('the cap', () => {
  it('refuses what would go over, says the numbers, and goes on', () => {
    const cap = stats().allocatedBytes + 8 * MiB;
    native().setMemoryCap('cpu', cap);
    const fits = call('aten::zeros', [MiB]);
    const allocated = stats().allocatedBytes;
    const error = thrown(() => call('aten::zeros', [2 * MiB]));
    expect(error.code).toBe('E_OUT_OF_MEMORY');
    expect(error.details).toEqual({ need: 8 * MiB + 4096, cap, allocated });
    expect(error.message).toContain(String(cap));
    expect(error.hint).toBeDefined();
    expect(stats().allocatedBytes).toBe(allocated);
    native().setMemoryCap('cpu', null);
    const now = call('aten::zeros', [2 * MiB]);
    expect(valuesOf(call('aten::sum', now))).toEqual([0]);
    release(fits, now);
  });

  it('is not what a machine without that much memory reports', () => {
    for (const bytes of [2 ** 47, 2 ** 52]) {
      const error = thrown(() => call('aten::empty.memory_format', [bytes, bytes === 2 ** 52 ? 1024 : 1], 0));
      expect(error.code).toBe('E_OUT_OF_MEMORY');
      expect(error.message).toContain('the system refused');
    }
  });

  it('holds inside operators, in backward, and for the cache', () => {
    native().emptyCache();
    const x = call('aten::ones', [MiB]);
    native().setRequiresGrad(x, true);
    const y = call('aten::exp', x);
    const one = call('aten::ones', [MiB]);
    const cached = call('aten::ones', [3 * MiB]);
    release(cached);
    const cap = stats().allocatedBytes + 2 * MiB;
    native().setMemoryCap('cpu', cap);
    expect(stats().reservedBytes).toBeLessThanOrEqual(cap);
    expect(thrown(() => native().grad([y], [x], [one], true)).code).toBe('E_OUT_OF_MEMORY');
    native().setMemoryCap('cpu', null);
    const [gradient] = native().grad([y], [x], [one], false);
    expect(native().item(call('aten::max', gradient!))).toBeCloseTo(Math.E, 5);
    release(gradient!, one, y, x);
  });
});
