import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { call, floats, thrown, valuesOf } from './coreSupport.ts';

const draw = (count = 8) => valuesOf(call('aten::randn', [count]));

describe('random state', () => {
  it('repeats from a seed, and differs between seeds', () => {
    native().seed('cpu', 42n);
    const first = draw();
    native().seed('cpu', 42n);
    expect(draw()).toEqual(first);
    native().seed('cpu', 2n ** 64n - 1n);
    expect(draw()).not.toEqual(first);
  });

  it("matches PyTorch's numbers", () => {
    // torch 2.13: torch.manual_seed(0); torch.rand(3, dtype=torch.float64)
    native().seed('cpu', 0n);
    expect(valuesOf(call('aten::rand', [3], 7))).toEqual([0.9700530018065531, 0.707819864399788, 0.45938294312745087]);
  });

  it('is saved and restored in the middle of a stream', () => {
    native().seed('cpu', 1n);
    draw(5);
    const state = native().getRandomState('cpu');
    const next = [draw(), draw(3)];
    native().setRandomState('cpu', state);
    expect([draw(), draw(3)]).toEqual(next);
    expect(thrown(() => native().setRandomState('cpu', state.subarray(1))).code).toBe('E_OPERATOR');
  });
});

describe('threads and determinism', () => {
  it('sets libtorch threads', () => {
    const before = native().getThreads();
    native().setThreads(before + 1);
    expect(native().getThreads()).toBe(before + 1);
    native().setThreads(before);
    expect(native().getThreads()).toBe(before);
  });

  it('refuses operators without a deterministic kernel when asked to', () => {
    native().setDeterministic(true);
    const source = floats([1, 2, 3]);
    const size = [1, 1, 1];
    const upsampled = () => call('aten::max_unpool2d', call('aten::reshape', source, [1, 1, 3]), source, size);
    expect(thrown(upsampled).message.toLowerCase()).toContain('determin');
    native().setDeterministic(false);
  });
});
