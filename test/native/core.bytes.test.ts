import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { bytesOf, call, dtype, floats, release, thrown, valuesOf } from './coreSupport.ts';

const elementBytes: Record<keyof typeof dtype, number> = {
  uint8: 1,
  int8: 1,
  int16: 2,
  int32: 4,
  int64: 8,
  float16: 2,
  float32: 4,
  float64: 8,
  complex64: 8,
  bool: 1,
  bfloat16: 2,
  float8e5m2: 1,
  float8e4m3: 1,
};

describe.each(Object.keys(dtype) as (keyof typeof dtype)[])('%s', (name) => {
  it('keeps every byte, copied or wrapped', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 33 }), fc.integer(), (count, seed) => {
        const bytes = new Uint8Array(count * elementBytes[name]);
        for (let i = 0; i < bytes.length; i++) bytes[i] = name === 'bool' ? i % 2 : Math.imul(i + 1, seed) >>> 7;
        for (const make of [native().fromBytes, native().wrapBytes]) {
          const tensor = make(bytes, [count], dtype[name]);
          expect(native().info(tensor)).toMatchObject({ shape: [count], dtype: dtype[name], device: 'cpu' });
          expect(bytesOf(tensor, bytes.length)).toEqual(bytes);
          native().release(tensor);
        }
      }),
      { numRuns: 30 },
    );
  });
});

it('reads bf16 as the upper half of float32', () => {
  const tensor = native().fromBytes(new Uint8Array(Uint16Array.of(0x3f80, 0xc040, 0x7f80).buffer), [3], dtype.bfloat16);
  expect(valuesOf(tensor)).toEqual([1, -3, Number.POSITIVE_INFINITY]);
});

it('reads a strided view in its own order', () => {
  const x = floats([1, 2, 3, 4, 5, 6], [2, 3]);
  expect(valuesOf(call('aten::t', x))).toEqual([1, 4, 2, 5, 3, 6]);
  expect(new Float32Array(bytesOf(call('aten::t', x), 24).buffer)).toEqual(Float32Array.of(1, 4, 2, 5, 3, 6));
});

it('copies from an odd offset, but does not wrap it', () => {
  const bytes = new Uint8Array(9).subarray(1);
  expect(native().info(native().fromBytes(bytes, [2], dtype.float32)).shape).toEqual([2]);
  expect(thrown(() => native().wrapBytes(bytes, [2], dtype.float32)).code).toBe('E_ARGUMENT');
});

describe('wrapBytes', () => {
  it('shares memory in both directions', () => {
    const values = Float32Array.of(1, 2);
    const tensor = native().wrapBytes(new Uint8Array(values.buffer), [2], dtype.float32);
    values[0] = 5;
    call('aten::add_.Scalar', tensor, 1);
    expect([...values]).toEqual([6, 3]);
    release(tensor);
  });

  it('keeps the bytes alive as long as the tensor, and no longer', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    const make = () => {
      const bytes = new Uint8Array(4096).fill(7);
      return { tensor: native().wrapBytes(bytes, [4096], dtype.uint8), seen: new WeakRef(bytes.buffer) };
    };
    const { tensor, seen } = make();
    const view = call('aten::slice.Tensor', tensor, 0, 10, 20);
    release(tensor);
    await turn();
    collect();
    await turn();
    expect(seen.deref()).toBeDefined();
    expect(valuesOf(view)).toEqual(Array(10).fill(7));
    release(view);
    release(floats([1]));
    await turn();
    collect();
    await turn();
    collect();
    expect(seen.deref()).toBeUndefined();
  });
});
