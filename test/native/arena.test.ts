import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TensorHandle } from '../../src/native/binding.ts';
import { native, nativeIsBuilt } from '../../src/native/load.ts';
import { mib, pattern, readArena, thrown } from './swapSupport.ts';

const float32 = 6;
const float64 = 7;

describe.skipIf(!nativeIsBuilt())('arenas', () => {
  it.each(['host', 'device'] as const)('a %s arena holds what is written and says what it is', (kind) => {
    const arena = native().arenaCreate(kind, 4 * mib + 1, 0, true);
    const info = native().arenaInfo(arena);
    expect(info).toMatchObject({ kind, bytes: 4 * mib + 4096, users: 0 });
    expect(info.touchedBytes).toBeLessThanOrEqual(info.bytes);
    native().arenaFill(arena, 0, info.bytes, 0x11);
    expect(native().arenaInfo(arena).touchedBytes).toBe(info.bytes);
    native().arenaWrite(arena, 777, pattern(100_000, 1));
    expect(Buffer.compare(readArena(arena, 777, 100_000), pattern(100_000, 1))).toBe(0);
    expect(readArena(arena, 776, 1)).toEqual(new Uint8Array([0x11]));
    native().arenaDestroy(arena);
    expect(thrown(() => native().arenaInfo(arena))).toMatchObject({ code: 'E_STATE' });
  });

  it('refuses every access that is not all inside', () => {
    const arena = native().arenaCreate('host', mib, 0, false);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 * mib }), fc.integer({ min: 0, max: mib }), (offset, bytes) => {
        const into = new Uint8Array(bytes);
        if (offset + bytes <= mib) native().arenaRead(arena, offset, into);
        else expect(thrown(() => native().arenaRead(arena, offset, into))).toMatchObject({ code: 'E_ARGUMENT' });
      }),
      { numRuns: 50 },
    );
    for (const offset of [mib, mib + 1, 2 ** 53]) {
      expect(thrown(() => native().arenaFill(arena, offset, 1, 0))).toMatchObject({ code: 'E_ARGUMENT' });
    }
    expect(thrown(() => native().arenaFill(arena, -1, 1, 0))).toMatchObject({ code: 'E_ARGUMENT' });
    expect(thrown(() => native().arenaTensor(arena, mib - 4, [2], float32))).toMatchObject({ code: 'E_ARGUMENT' });
    expect(thrown(() => native().arenaTensor(arena, 2, [2], float32))).toMatchObject({ code: 'E_ARGUMENT' });
    expect(thrown(() => native().arenaTensor(arena, 0, [2 ** 40, 2 ** 40], float32))).toMatchObject({
      code: 'E_ARGUMENT',
    });
    native().arenaDestroy(arena);
  });

  it('more than the machine has is refused with the numbers, and a fault point can refuse too', () => {
    expect(thrown(() => native().arenaCreate('host', 2 ** 50, 0, false))).toMatchObject({
      code: 'E_OUT_OF_MEMORY',
      details: { neededBytes: 2 ** 50 },
    });
    native().setFault('arena.map:ENOMEM@k=1');
    expect(thrown(() => native().arenaCreate('host', mib, 0, false))).toMatchObject({ code: 'E_OUT_OF_MEMORY' });
    native().setFault(null);
  });

  it('cannot be destroyed while a view lives, and the view sees its bytes', () => {
    const arena = native().arenaCreate('host', mib, 0, false);
    native().arenaWrite(arena, 4096, new Uint8Array(new Float32Array([1, 2, 3, 4, 5, 6]).buffer));
    const view = native().arenaTensor(arena, 4096, [2, 3], float32);
    const out = new Float32Array(6);
    native().readBytes(view, new Uint8Array(out.buffer));
    expect([...out]).toEqual([1, 2, 3, 4, 5, 6]);
    const alias = native().retain(view);
    native().release(view);
    expect(thrown(() => native().arenaDestroy(arena))).toMatchObject({ code: 'E_STATE', details: { users: 1 } });
    native().release(alias);
    native().arenaDestroy(arena);
  });

  it('counts what it takes from the system, once per arena', () => {
    const before = native().allocationCount();
    const arena = native().arenaCreate('host', mib, 0, false);
    const after = native().allocationCount();
    expect(after).toBeGreaterThan(before);
    native().arenaFill(arena, 0, mib, 1);
    native().release(native().arenaTensor(arena, 0, [4], float32));
    expect(native().allocationCount()).toBe(after);
    native().arenaDestroy(arena);
  });
});

describe.skipIf(!nativeIsBuilt())('storages whose bytes come and go', () => {
  const values = (count: number, seed: number) =>
    Float64Array.from({ length: count }, (_, i) => Math.sin((i + 1) * seed) * 3);
  const bytesOf = (array: Float64Array) => new Uint8Array(array.buffer);
  const op = (name: string, overload: string, ...args: (TensorHandle | readonly number[])[]) =>
    native().call(native().findOperator(name, overload), ...args) as TensorHandle;

  it('released after forward, refilled elsewhere before backward: gradients are the same bits', () => {
    const rows = 5;
    const [inner, outer] = [64, 32];
    const weights = values(inner * outer, 0.7);
    const forward = (x: TensorHandle, w: TensorHandle) => {
      const y = op('aten::matmul', '', x, w);
      const z = op('aten::tanh', '', y);
      return op('aten::sum', '', op('aten::mul', 'Tensor', z, y));
    };
    const gradients = (loss: TensorHandle, x: TensorHandle, w: TensorHandle) =>
      native()
        .grad([loss], [x, w], [null], false)
        .map((gradient, i) => {
          const out = new Float64Array(i === 0 ? rows * inner : inner * outer);
          native().readBytes(gradient!, bytesOf(out));
          return [...out];
        });
    const input = () => {
      const x = native().fromBytes(bytesOf(values(rows * inner, 0.3)), [rows, inner], float64);
      native().setRequiresGrad(x, true);
      return x;
    };

    const plain = native().fromBytes(bytesOf(weights), [inner, outer], float64);
    native().setRequiresGrad(plain, true);
    const x0 = input();
    const expected = gradients(forward(x0, plain), x0, plain);

    const arena = native().arenaCreate('device', mib, 0, false);
    const moving = native().fromBytes(bytesOf(new Float64Array(inner * outer)), [inner, outer], float64);
    native().setRequiresGrad(moving, true);
    native().arenaWrite(arena, 4096, bytesOf(weights));
    native().bindStorage(moving, arena, 4096, weights.byteLength);
    const x1 = input();
    const loss = forward(x1, moving);
    native().unbindStorage(moving);
    expect(native().info(moving)).toMatchObject({ storageBytes: 0, shape: [inner, outer] });
    expect(native().arenaInfo(arena).users).toBe(0);
    native().arenaFill(arena, 4096, weights.byteLength, 0xff);
    native().arenaWrite(arena, 512 * 1024, bytesOf(weights));
    native().bindStorage(moving, arena, 512 * 1024, weights.byteLength);
    expect(gradients(loss, x1, moving)).toEqual(expected);

    expect(thrown(() => native().arenaDestroy(arena))).toMatchObject({ code: 'E_STATE' });
    native().unbindStorage(moving);
    native().arenaDestroy(arena);
  });

  it('refuses bytes that do not hold the tensor', () => {
    const arena = native().arenaCreate('host', mib, 0, false);
    const tensor = native().fromBytes(new Uint8Array(800), [100], float64);
    expect(thrown(() => native().bindStorage(tensor, arena, 0, 792))).toMatchObject({ code: 'E_ARGUMENT' });
    expect(thrown(() => native().bindStorage(tensor, arena, 4, 800))).toMatchObject({ code: 'E_ARGUMENT' });
    expect(thrown(() => native().bindStorage(tensor, arena, mib - 8, 800))).toMatchObject({ code: 'E_ARGUMENT' });
    expect(native().arenaInfo(arena).users).toBe(0);
    native().arenaDestroy(arena);
  });
});
