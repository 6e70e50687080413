import { describe, expect, it } from 'vitest';
import type { OperatorId, TensorHandle } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { call, callAny, dtype, floats, thrown } from './coreSupport.ts';

describe('handles', () => {
  it('refuses a released handle everywhere, also after its slot was taken again', () => {
    const stale = floats([1]);
    native().release(stale);
    const next = floats([2]);
    expect(next).not.toBe(stale);
    const uses: (() => unknown)[] = [
      () => native().info(stale),
      () => native().release(stale),
      () => native().retain(stale),
      () => native().detach(stale),
      () => native().cutGraph(stale),
      () => native().item(stale),
      () => native().setRequiresGrad(stale, true),
      () => native().readBytes(stale, new Uint8Array(4)),
      () => native().sameTensor(next, stale),
      () => native().grad([stale], [next], [null], false),
      () => native().reachableLeaves([next], [stale]),
    ];
    for (const use of uses) {
      const error = thrown(use);
      expect([error.code, error.message]).toEqual(['E_STATE', 'tensor was already released']);
    }
    const error = thrown(() => call('aten::add.Tensor', next, stale));
    expect([error.code, error.message]).toEqual([
      'E_STATE',
      "aten::add.Tensor: argument 'other': tensor was already released",
    ]);
  });

  it('refuses numbers that were never handles', () => {
    for (const wrong of [0, 1, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 2 ** 60]) {
      expect(thrown(() => native().info(wrong as TensorHandle)).code).toBe('E_STATE');
    }
  });

  it('releases many, and the rest when some are stale', () => {
    const before = native().liveTensors();
    const handles = [floats([1]), floats([2]), floats([3]), floats([4])];
    native().release(handles[1]!);
    const error = thrown(() => native().releaseMany(Float64Array.from(handles), 3));
    expect(error.code).toBe('E_STATE');
    expect(error.details).toMatchObject({ stale: 1, count: 3 });
    expect(native().liveTensors()).toBe(before + 1);
    native().releaseMany(Float64Array.of(handles[3]!), 1);
    expect(native().liveTensors()).toBe(before);
    expect(thrown(() => native().releaseMany(new Float64Array(1), 2)).code).toBe('E_ARGUMENT');
    expect(thrown(() => native().releaseMany([] as never, 0)).code).toBe('E_ARGUMENT');
  });
});

describe('operator calls', () => {
  const x = floats([1, 2, 3, 4], [2, 2]);

  it('refuses an unknown operator', () => {
    const error = thrown(() => native().findOperator('aten::matmull', ''));
    expect(error.code).toBe('E_OPERATOR');
    expect(error.message).toContain('aten::matmull');
    expect(thrown(() => native().call(1e6 as OperatorId)).code).toBe('E_OPERATOR');
    expect(thrown(() => native().call(-1 as OperatorId)).code).toBe('E_OPERATOR');
    expect(thrown(() => native().call('add' as never)).code).toBe('E_ARGUMENT');
    expect(thrown(() => (native().call as unknown as () => void)()).code).toBe('E_ARGUMENT');
  });

  const wrong: [string, () => unknown, string][] = [
    ['Tensor', () => callAny('aten::add.Tensor', x, 'y'), `'other' must be Tensor, got the string "y"`],
    ['Tensor as null', () => callAny('aten::add.Tensor', x, null), `'other' must be Tensor, got null`],
    ['Tensor[]', () => callAny('aten::cat', x), `'tensors' must be Tensor[], got the number`],
    ['int', () => callAny('aten::select.int', x, 0.5, 0), `'dim' must be int, got the number 0.5`],
    ['int beyond 64 bits', () => callAny('aten::select.int', x, 2n ** 70n, 0), `'dim' must be int, got a bigint`],
    ['int[]', () => callAny('aten::permute', x, 'ab'), `'dims' must be int[], got the string "ab"`],
    ['int[] element', () => callAny('aten::permute', x, [0, 0.5]), `'dims' must be int[], got the number 0.5`],
    ['float', () => callAny('aten::dropout', x, true, true), `'p' must be float, got a boolean`],
    ['bool', () => callAny('aten::dropout', x, 0.5, 1), `'train' must be bool, got the number 1`],
    ['Scalar', () => callAny('aten::add.Scalar', x, 'one'), `'other' must be Scalar, got the string "one"`],
    ['str', () => callAny('aten::gelu', x, 3), `'approximate' must be str, got the number 3`],
    ['Device', () => callAny('aten::zeros', [1], null, null, 'tpu'), `'device' must be Device?, got the string "tpu"`],
    ['missing', () => callAny('aten::add.Tensor', x), `'other' (Tensor) is missing`],
    ['too many', () => callAny('aten::relu', x, 1), 'takes at most 1 arguments, got 2'],
  ];
  it.each(wrong)('names the argument that is wrong: %s', (_kind, use, expected) => {
    const error = thrown(use);
    expect(error.code).toBe('E_OPERATOR');
    expect(error.message).toContain(expected);
    expect(error.details).toHaveProperty('operator');
  });

  it("puts libtorch's refusal in one line, with the operator", () => {
    const error = thrown(() => call('aten::mm', x, floats([1, 2, 3], [3, 1])));
    expect(error.code).toBe('E_OPERATOR');
    expect(error.message).toBe('aten::mm: mat1 and mat2 shapes cannot be multiplied (2x2 and 3x1)');
  });

  it('leaks no handle when a result cannot be passed on', () => {
    const complex = call('aten::complex', x, x);
    const big = call('aten::full', [1], 2n ** 60n);
    const one = call('aten::sum', complex);
    const before = native().liveTensors();
    expect(thrown(() => callAny('aten::item', one)).code).toBe('E_UNSUPPORTED');
    expect(thrown(() => callAny('aten::item', big)).code).toBe('E_UNSUPPORTED');
    expect(native().liveTensors()).toBe(before);
  });
});

describe('plain functions', () => {
  it('refuses bytes of the wrong length, in both directions', () => {
    const short = thrown(() => native().fromBytes(new Uint8Array(7), [2], dtype.float32));
    expect(short.code).toBe('E_ARGUMENT');
    expect(short.message).toBe('shape [2] of Float takes 8 bytes, got 7');
    expect(short.details).toEqual({ need: 8, given: 7 });
    const read = thrown(() => native().readBytes(floats([1, 2]), new Uint8Array(9)));
    expect(read.code).toBe('E_ARGUMENT');
    expect(read.details).toEqual({ need: 8, given: 9 });
  });

  it('refuses impossible shapes and dtypes', () => {
    const make = (shape: number[], code: number) => () => native().fromBytes(new Uint8Array(4), shape, code);
    for (const use of [make([-1], 6), make([1.5], 6), make([2 ** 40, 2 ** 40], 6), make([1], 999), make([1], -1)]) {
      expect(thrown(use).code).toBe('E_ARGUMENT');
    }
  });

  it('refuses values of the wrong kind', () => {
    const wrong = native() as unknown as Record<string, (...values: unknown[]) => unknown>;
    const uses: [string, ...unknown[]][] = [
      ['info', 'x'],
      ['info'],
      ['findOperator', 1, 2],
      ['fromBytes', [1, 2], [2], 0],
      ['fromBytes', new Float32Array(1), [1], 6],
      ['fromBytes', new Uint8Array(1), 1, 0],
      ['setGradMode', 1],
      ['grad', 1, [], [], false],
      ['grad', [null], [], [null], false],
      ['grad', [], [], [null], false],
      ['seed', 'cpu', 1],
      ['seed', 'cpu', -1n],
      ['memoryStats', 'tpu'],
      ['memoryStats', 7],
      ['setMemoryCap', 'cpu', -5],
      ['setThreads', 0],
      ['setErrorFactory', 1],
    ];
    for (const [name, ...values] of uses) {
      expect([name, thrown(() => wrong[name]!(...values)).code]).toEqual([name, 'E_ARGUMENT']);
    }
  });

  it('item() needs one element', () => {
    expect(native().item(floats([2.5]))).toBe(2.5);
    expect(thrown(() => native().item(floats([1, 2]))).code).toBe('E_ARGUMENT');
  });

  it('says so when the build has no CUDA', () => {
    if (native().buildInfo.cuda) return;
    expect(native().deviceCount()).toBe(0);
    expect(thrown(() => native().deviceInfo(0)).code).toBe('E_UNSUPPORTED');
    expect(thrown(() => native().memoryStats('cuda:0')).code).toBe('E_UNSUPPORTED');
    expect(thrown(() => native().synchronize('cuda')).code).toBe('E_UNSUPPORTED');
    native().synchronize('cpu');
  });
});
