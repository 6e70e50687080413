import { describe, expect, it } from 'vitest';
import { native } from '../../src/native/load.ts';
import { call, callAny, dtype, floats, type TensorHandle, valuesOf } from './coreSupport.ts';

const info = (tensor: TensorHandle) => native().info(tensor);

describe('arguments by schema type', () => {
  const x = floats([1, 2, 3, 4, 5, 6], [2, 3]);

  it('passes tensors and takes defaults for what is missing or undefined', () => {
    expect(valuesOf(call('aten::add.Tensor', x, x))).toEqual([2, 4, 6, 8, 10, 12]);
    expect(valuesOf(call('aten::add.Tensor', x, x, undefined))).toEqual([2, 4, 6, 8, 10, 12]);
    expect(valuesOf(call('aten::add.Tensor', x, x, 2))).toEqual([3, 6, 9, 12, 15, 18]);
  });

  it('reads whole numbers as int Scalars, others as float, booleans as bool', () => {
    const ints = call('aten::to.dtype', x, dtype.int64);
    expect(info(call('aten::add.Scalar', ints, 2)).dtype).toBe(dtype.int64);
    expect(info(call('aten::add.Scalar', ints, 2.5)).dtype).toBe(dtype.float32);
    expect(info(call('aten::add.Scalar', ints, 1e300)).dtype).toBe(dtype.float32);
    expect(info(call('aten::full', [1], true)).dtype).toBe(dtype.bool);
    expect(info(call('aten::full', [1], 3)).dtype).toBe(dtype.int64);
    expect(Object.is(valuesOf(call('aten::full', [1], -0))[0], -0)).toBe(true);
  });

  it('takes bigints for ints and Scalars, exactly', () => {
    const big = 2n ** 60n + 1n;
    const tensor = call('aten::full', [1], big);
    expect(info(tensor).dtype).toBe(dtype.int64);
    const out = new BigInt64Array(1);
    native().readBytes(tensor, new Uint8Array(out.buffer));
    expect(out[0]).toBe(big);
    expect(info(call('aten::select.int', x, 0n, 1n)).shape).toEqual([3]);
  });

  it('passes int lists, and one number for a list of fixed size', () => {
    expect(info(call('aten::reshape', x, [3, -1])).shape).toEqual([3, 2]);
    const image = call('aten::reshape', floats(Array.from({ length: 16 }, (_, i) => i)), [1, 1, 4, 4]);
    expect(valuesOf(call('aten::avg_pool2d', image, 2))).toEqual(valuesOf(call('aten::avg_pool2d', image, [2, 2])));
    expect(info(call('aten::avg_pool2d', image, [2, 4])).shape).toEqual([1, 1, 2, 1]);
  });

  it('passes optional ints, floats, scalars and lists as null or a value', () => {
    expect(valuesOf(call('aten::slice.Tensor', x, 1, null, 2))).toEqual([1, 2, 4, 5]);
    expect(valuesOf(call('aten::clamp', x, 2, null))).toEqual([2, 2, 3, 4, 5, 6]);
    expect(valuesOf(call('aten::sum.dim_IntList', x, null))).toEqual([21]);
    expect(valuesOf(call('aten::sum.dim_IntList', x, [1], true))).toEqual([6, 15]);
    expect(valuesOf(call('aten::nan_to_num', floats([Number.NaN]), 7.5))).toEqual([7.5]);
    const up = call('aten::reshape', x, [1, 2, 3]);
    expect(info(call('aten::upsample_linear1d.vec', up, null, false, [2])).shape).toEqual([1, 2, 6]);
  });

  it('passes tensor lists and lists with missing tensors', () => {
    expect(info(call('aten::cat', [x, x], 0)).shape).toEqual([4, 3]);
    const index = call('aten::to.dtype', floats([0, 2]), dtype.int64);
    expect(valuesOf(call('aten::index.Tensor', x, [null, index]))).toEqual([1, 3, 4, 6]);
  });

  it('passes float lists, bool lists and Scalar lists', () => {
    const wide = call('aten::upsample_linear1d.vec', call('aten::reshape', x, [1, 2, 3]), null, false, [1.5]);
    expect(info(wide).shape).toEqual([1, 2, 4]);
    const scaled = callAny('aten::_foreach_mul.ScalarList', [x, x], [2, 0.5]) as readonly number[];
    expect(valuesOf(scaled[0] as TensorHandle)).toEqual([2, 4, 6, 8, 10, 12]);
    expect(valuesOf(scaled[1] as TensorHandle)).toEqual([0.5, 1, 1.5, 2, 2.5, 3]);
    const image = call('aten::reshape', x, [1, 1, 2, 3]);
    const kernel = call('aten::ones', [1, 1, 1, 1]);
    const grads = callAny(
      ...([
        'aten::convolution_backward',
        image,
        image,
        kernel,
        null,
        [1, 1],
        [0, 0],
        [1, 1],
        false,
        [0, 0],
        1,
      ] as const),
      [true, false, false],
    ) as readonly (number | null)[];
    expect(grads.map((g) => g === null)).toEqual([false, true, true]);
  });

  it('passes optional tensors, dtypes, layouts, devices and strings', () => {
    const weight = floats([1, 2, 3]);
    const noBias = call('aten::layer_norm', x, [3], weight, null);
    expect(valuesOf(noBias)).toEqual(valuesOf(call('aten::layer_norm', x, [3], weight)));
    const strided = 0;
    const made = info(call('aten::zeros', [2], dtype.bfloat16, strided, 'cpu', false));
    expect([made.dtype, made.device]).toEqual([dtype.bfloat16, 'cpu']);
    const tanh = valuesOf(call('aten::gelu', x, 'tanh'));
    expect(tanh).not.toEqual(valuesOf(call('aten::gelu', x, 'none')));
    expect(info(call('aten::empty_like', x, undefined, undefined, undefined, undefined, 0)).strides).toEqual([3, 1]);
  });

  it("takes a device's default generator by name or null", () => {
    const draw = (generator: 'cpu' | null) => {
      native().seed('cpu', 5n);
      return valuesOf(call('aten::rand.generator', [4], generator));
    };
    expect(draw('cpu')).toEqual(draw(null));
  });
});

describe('results', () => {
  const x = floats([3, 1, 2]);

  it('gives several tensors as an array and lists as an array', () => {
    const [values, indices] = callAny('aten::sort', x) as readonly number[];
    expect(valuesOf(values as TensorHandle)).toEqual([1, 2, 3]);
    expect(valuesOf(indices as TensorHandle)).toEqual([1, 2, 0]);
    expect(callAny('aten::split.Tensor', x, 2)).toHaveLength(2);
  });

  it('gives numbers, booleans and strings plain', () => {
    expect(callAny('aten::size.int', x, 0)).toBe(3);
    expect(callAny('aten::is_floating_point', x)).toBe(true);
    expect(callAny('aten::equal', x, x)).toBe(true);
    expect(callAny('aten::item', call('aten::sum', x))).toBe(6);
    expect(callAny('aten::item', call('aten::mean', call('aten::mul.Scalar', x, 1.25)))).toBe(2.5);
  });

  it('gives an in-place result as a second handle on the same tensor', () => {
    const again = call('aten::add_.Scalar', floats([1]), 1);
    expect(valuesOf(again)).toEqual([2]);
    const target = floats([1]);
    expect(native().sameTensor(call('aten::mul_.Scalar', target, 3), target)).toBe(true);
  });
});

describe('operators', () => {
  it('lists its schemas, each findable under its name', () => {
    const schemas = native().listOperators();
    expect(schemas.length).toBeGreaterThan(2000);
    const add = 'aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor';
    expect(schemas).toContain(add);
    const id = native().findOperator('aten::add', 'Tensor');
    expect(native().operatorSchema(id)).toBe(add);
    expect(native().findOperator('aten::add', 'Tensor')).toBe(id);
  });
});
