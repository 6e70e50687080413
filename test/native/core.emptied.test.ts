import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { bytesOf, call, dtype, floats, type TensorHandle, thrown, valuesOf } from './coreSupport.ts';

/** Tensors whose storage has been emptied (their chunk is elsewhere): refused wherever bytes are read. */
describe('a tensor without bytes', () => {
  const emptied = (shape: number[] = [4]): TensorHandle => {
    const made = call('aten::ones', shape);
    native().unbindStorage(made);
    return made;
  };

  it('says so, and keeps its shape', () => {
    expect(native().info(emptied())).toMatchObject({ shape: [4], storageBytes: 0 });
  });

  it('is refused as an argument, with the operator and the place', () => {
    const x = floats([1, 2, 3, 4]);
    const gone = emptied();
    const uses: [() => unknown, string][] = [
      [() => call('aten::add.Tensor', x, gone), "aten::add.Tensor: argument 'other'"],
      [() => call('aten::add_.Tensor', gone, x), "aten::add_.Tensor: argument 'self'"],
      [() => call('aten::cat', [x, gone]), "aten::cat: argument 'tensors'"],
      [() => bytesOf(gone, 16), 'readBytes'],
      [() => native().item(emptied([1])), 'item'],
    ];
    for (const [use, where] of uses) {
      const error = thrown(use);
      expect(error.code).toBe('E_STATE');
      expect(error.message).toBe(`${where}: the tensor's bytes are not in memory, its storage was emptied`);
    }
  });

  it('can still be viewed, detached and cut', () => {
    const gone = emptied();
    expect(native().info(call('aten::view', gone, [2, 2])).shape).toEqual([2, 2]);
    expect(native().info(native().detach(gone)).storageBytes).toBe(0);
    native().cutGraph(gone);
    expect(native().info(gone)).toMatchObject({ isLeaf: true, requiresGrad: true });
  });

  // Older libtorch cannot take the mark on an emptied storage back, so none is set there: such a backward ends the process.
  const marks = Number(native().buildInfo.torchVersion.split('.')[1]) >= 13;
  it.skipIf(!marks)('fails in backward instead of reading address zero, and succeeds once its bytes are back', () => {
    const arena = native().arenaCreate('host', 4096, 0, false);
    native().arenaWrite(arena, 0, new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer));
    for (const product of ['aten::mul.Tensor', 'aten::mm']) {
      const weight = native().arenaTensor(arena, 0, [2, 2], dtype.float32);
      const input = floats([1, 1, 1, 1], [2, 2]);
      native().setRequiresGrad(input, true);
      const loss = call('aten::sum', call(product, input, weight));
      native().unbindStorage(weight);
      expect(thrown(() => native().grad([loss], [input], [null], true)).code).toBe('E_OPERATOR');
      native().bindStorage(weight, arena, 0, 16);
      const [gradient] = native().grad([loss], [input], [null], false);
      expect(valuesOf(gradient!)).toEqual(product === 'aten::mm' ? [3, 7, 3, 7] : [1, 2, 3, 4]);
    }
  });
});
