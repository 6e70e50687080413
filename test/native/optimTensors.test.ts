/** The optimizer over tensors: libtorch's own fused AdamW by tolerance, thread counts by bits, refusals. */
import { describe, expect, it } from 'vitest';
import type { TensorHandle, UpdateTensors } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { adamw, constant, groupParameters, hyperparametersAt } from '../../src/optim/index.ts';
import { type Dtype, dtypeBytes, dtypeCode } from '../../src/tensor/dtype.ts';
import { bytesOf, group, patterns, random64 } from './optimPatterns.ts';

const addon = native();

const tensor = (bytes: Uint8Array, dtype: Dtype): TensorHandle =>
  addon.fromBytes(bytes, [bytes.byteLength / dtypeBytes(dtype)], dtypeCode(dtype));
const floats = (values: Float32Array): TensorHandle => tensor(bytesOf(values), 'float32');
function read(handle: TensorHandle): Uint8Array<ArrayBuffer> {
  const { shape, dtype } = addon.info(handle);
  const bytes = dtype === dtypeCode('float64') ? 8 : dtype === dtypeCode('float32') ? 4 : 2;
  const into = new Uint8Array(bytes * shape.reduce((a, b) => a * b, 1));
  addon.readBytes(handle, into);
  return into;
}
/** Normal-looking values, sizes over several powers of ten. */
function values(count: number, seed: number): Float32Array<ArrayBuffer> {
  const next = random64(seed);
  return Float32Array.from({ length: count }, () => {
    const unit = Number(next() >> 11n) * 2 ** -52 - 1;
    return unit * 10 ** (Number(next() % 7n) - 5);
  });
}
function repeated(bytes: Uint8Array, length: number): Uint8Array {
  return Uint8Array.from(Buffer.alloc(length, bytes));
}

function rootMeanSquare(values: Float32Array, around: Float64Array): number {
  return Math.sqrt(values.reduce((sum, x, i) => sum + (x - around[i]!) ** 2, 0) / values.length);
}

describe('optimizerUpdate', () => {
  it('stays near libtorch’s fused AdamW over 100 steps', () => {
    const count = 3001;
    const steps = 100;
    const optimizer = adamw({ learningRate: 1e-3, betas: [0.9, 0.95], weightDecay: 0.1 });
    const settings = groupParameters([{ name: 'w', shape: [count, 1] }], optimizer).groups[0]!;
    const start = values(count, 1);
    const ours: UpdateTensors = {
      gradient: floats(start),
      master: floats(start),
      m: floats(new Float32Array(count)),
      v: floats(new Float32Array(count)),
      parameterOut: tensor(new Uint8Array(2 * count), 'bfloat16'),
    };
    const ours64: UpdateTensors = {
      ...ours,
      master: tensor(bytesOf(Float64Array.from(start)), 'float64'),
      m: tensor(bytesOf(new Float64Array(count)), 'float64'),
      v: tensor(bytesOf(new Float64Array(count)), 'float64'),
      parameterOut: null,
    };
    const theirs = [start, new Float32Array(count), new Float32Array(count)].map(floats);
    const fused = addon.findOperator('aten::_fused_adamw_', '');
    for (let step = 0; step < steps; step++) {
      const gradient = floats(values(count, 100 + step));
      const numbers = hyperparametersAt(step, settings, constant());
      addon.optimizerUpdate('adamw', numbers, 1, { ...ours, gradient }, 2);
      addon.optimizerUpdate('adamw', numbers, 1, { ...ours64, gradient }, 2);
      const [w, m, v] = theirs;
      const counter = floats(Float32Array.of(step + 1));
      addon.call(fused, [w!], [gradient], [m!], [v!], [], [counter], 1e-3, 0.9, 0.95, 0.1, 1e-8, false, false);
      addon.release(gradient);
      addon.release(counter);
    }
    // A third run in float64, whose values are torch's (optimReference.test.ts), tells whose rounding is farther off.
    const exact = [ours64.master, ours64.m!, ours64.v!].map((handle) => new Float64Array(read(handle).buffer));
    const [near, far] = [[ours.master, ours.m!, ours.v!], theirs].map((handles) =>
      handles.map((handle, i) => rootMeanSquare(new Float32Array(read(handle).buffer), exact[i]!)),
    ) as [number[], number[]];
    const size = exact.map((values) => rootMeanSquare(new Float32Array(values.length), values));
    near.forEach((error, i) => {
      expect(error).toBeLessThan(1e-6 * size[i]!);
      expect(error).toBeLessThan(1.2 * far[i]!);
    });
    // The weights, where update.h joins decay and step first.
    expect(near[0]!).toBeLessThan(far[0]!);
    const moved = new Float32Array(read(ours.master).buffer).filter((x, i) => x !== start[i]).length;
    expect(moved).toBeGreaterThan(count * 0.99);
    // The parameter is the master weight rounded.
    const rounded = tensor(new Uint8Array(2 * count), 'bfloat16');
    addon.castInto(rounded, ours.master, 1);
    expect(read(ours.parameterOut!)).toEqual(read(rounded));
  });

  // Four blocks and a tail; and more state than a cache holds, where outputs are streamed past it.
  it.each([70_001, 3_000_005])('gives the bits of the raw kernel on any number of threads: %i elements', (count) => {
    const next = random64(9);
    const [gradient, master, m, v] = [
      repeated(patterns(next, 'bfloat16', 50_021), 2 * count),
      ...[0, 1, 2].map(() => repeated(patterns(next, 'float32', 50_021), 4 * count)),
    ] as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    const raw = [master, m, v].map((bytes) => new Uint8Array(bytes)) as [Uint8Array, Uint8Array, Uint8Array];
    const rawOut = new Uint8Array(2 * count);
    addon.optimizerUpdateBuffers('scalar', 'adamw', group(), 0.5, {
      gradient,
      gradientDtype: dtypeCode('bfloat16'),
      stateDtype: dtypeCode('float32'),
      master: raw[0],
      m: raw[1],
      v: raw[2],
      masterOut: raw[0],
      mOut: raw[1],
      vOut: raw[2],
      parameterOut: rawOut,
      parameterDtype: dtypeCode('float16'),
    });
    for (const threads of [1, 3, 8]) {
      const tensors = {
        gradient: tensor(gradient, 'bfloat16'),
        master: tensor(master, 'float32'),
        m: tensor(m, 'float32'),
        v: tensor(v, 'float32'),
        parameterOut: tensor(new Uint8Array(2 * count), 'float16'),
      };
      addon.optimizerUpdate('adamw', group(), 0.5, tensors, threads);
      const got = [tensors.master, tensors.m, tensors.v, tensors.parameterOut].map(read);
      [...raw, rawOut].forEach((bytes, i) => {
        expect(Buffer.compare(got[i]!, bytes), `tensor ${i} on ${threads} threads`).toBe(0);
      });
      expect(addon.sumSquares(tensors.gradient, threads)).toEqual(
        addon.sumSquaresBytes('scalar', gradient, dtypeCode('bfloat16')),
      );
      for (const handle of Object.values(tensors)) addon.release(handle);
    }
  });

  it('refuses tensors that do not fit together, and leaves them as they were', () => {
    const four = floats(Float32Array.of(1, 2, 3, 4));
    const five = floats(new Float32Array(5));
    const double = tensor(bytesOf(new Float64Array(4)), 'float64');
    const integers = addon.fromBytes(new Uint8Array(16), [4], dtypeCode('int32'));
    const all: UpdateTensors = { gradient: four, master: four, m: four, v: four, parameterOut: null };
    const run = (changes: Partial<UpdateTensors>, threads = 1) => {
      return () => addon.optimizerUpdate('adamw', group(), 1, { ...all, ...changes }, threads);
    };
    expect(run({ master: five })).toThrow('master has 5 elements, the gradient has 4');
    expect(run({ m: double })).toThrow('element type of the master weights');
    expect(run({ v: null })).toThrow('no second moment');
    expect(run({ gradient: integers })).toThrow('element type code 3');
    expect(run({}, 0)).toThrow('threads must be 1 to 1024');
    const transposed = addon.call(addon.findOperator('aten::t', ''), addon.fromBytes(new Uint8Array(16), [2, 2], 6));
    expect(run({ gradient: transposed as TensorHandle })).toThrow('not contiguous');
    expect(new Float32Array(read(four).buffer)).toEqual(Float32Array.of(1, 2, 3, 4));
  });
});

describe('accumulate and castInto', () => {
  it('add and convert on several threads', () => {
    const count = 100_003;
    const source = values(count, 4);
    const from = tensor(new Uint8Array(2 * count), 'bfloat16');
    addon.castInto(from, floats(source), 3);
    const into = floats(source);
    addon.accumulate(into, from, 0.5, 3);
    const narrow = new Float32Array(count);
    addon.castBytes('scalar', bytesOf(narrow), dtypeCode('float32'), read(from), dtypeCode('bfloat16'));
    const expected = source.map((x, i) => x + 0.5 * narrow[i]!); // exact in double, rounded once on storing
    expect(new Float32Array(read(into).buffer)).toEqual(expected);
  });

  it('refuse unequal counts', () => {
    expect(() => addon.castInto(floats(new Float32Array(3)), floats(new Float32Array(2)), 1)).toThrow('3 elements');
  });
});
