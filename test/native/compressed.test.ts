/** AdamW on compressed states against its description: codes worked out here, the update itself by the exact scalar kernel. */
import { describe, expect, it } from 'vitest';
import { initialize, launch } from '../../src/engine/index.ts';
import type { SimdPath, UpdateGroup } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { Linear, type ValueSource } from '../../src/nn/index.ts';
import { adopt, type Dtype, dtypeCode, ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { settings, startGpt, tokens } from './engineSupport.ts';

const block = 256;
const group: UpdateGroup = {
  lr: 1e-2,
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weightDecay: 0.1,
  biasCorrection1: 0.271,
  biasCorrection2: 0.142625,
  momentum: 0,
  nesterov: false,
};

const words = new Uint32Array(1);
const asFloat = new Float32Array(words.buffer);
const floatOf = (bits: number): number => {
  words[0] = bits;
  return asFloat[0]!;
};
const bitsOf = (value: number): number => {
  asFloat[0] = value;
  return words[0]!;
};

/** Values of all codes relative to the scale: a small float with `mantissa` bits and exponents 2^-16 to 2^-1; 0 is zero. */
const table = (codes: number, mantissa: number): number[] =>
  Array.from({ length: codes }, (_, code) =>
    code === 0 ? 0 : 2 ** (Math.floor(code / 2 ** mantissa) - 16) * (1 + (code % 2 ** mantissa) / 2 ** mantissa),
  );
const firstMoment = table(128, 3);
const root = table(256, 4);

/** The nearest code; of two equally near the even one. Below code 1 the grid goes on to where code 0 would be as a float. */
function nearest(values: readonly number[], y: number): number {
  const grid = [2 ** -16, ...values.slice(1)];
  let best = 0;
  for (let code = 1; code < grid.length; code++) {
    const [a, b] = [Math.abs(grid[best]! - y), Math.abs(grid[code]! - y)];
    if (b < a || (b === a && code % 2 === 0)) best = code;
  }
  return best;
}

interface State {
  readonly weights: Float32Array;
  readonly m: Uint8Array;
  readonly root: Uint8Array;
  readonly mScales: Float32Array;
  readonly rootScales: Float32Array;
}

const scaleFor = (largest: number, top: number): number =>
  largest < 2 ** -100 ? 0 : Math.fround(Math.min(largest, 2 ** 126) / top);

/** One step by the description. */
function step(state: State, gradient: Float32Array, scale: number): State {
  const count = gradient.length;
  const m = Float32Array.from({ length: count }, (_, i) => {
    const code = state.m[i]!;
    return (code & 128 ? -1 : 1) * firstMoment[code & 127]! * state.mScales[Math.floor(i / block)]!;
  });
  const roots = Float32Array.from(
    { length: count },
    (_, i) => root[state.root[i]!]! * state.rootScales[Math.floor(i / block)]!,
  );
  const v = roots.map((r) => r * r);
  const weights = state.weights.slice();
  const bytes = (array: Float32Array): Uint8Array => new Uint8Array(array.buffer);
  const fp32 = dtypeCode('float32');
  native().optimizerUpdateBuffers('scalar', 'adamw', group, scale, {
    gradient: bytes(gradient),
    gradientDtype: fp32,
    stateDtype: fp32,
    master: bytes(weights),
    m: bytes(m),
    v: bytes(v),
    masterOut: bytes(weights),
    mOut: bytes(m),
    vOut: bytes(v),
    parameterOut: null,
    parameterDtype: fp32,
  });
  const newRoots = v.map(Math.sqrt);
  const next = {
    weights,
    m: new Uint8Array(count),
    root: new Uint8Array(count),
    mScales: state.mScales.slice(),
    rootScales: state.rootScales.slice(),
  };
  for (let first = 0, at = 0; first < count; first += block, at++) {
    const end = Math.min(first + block, count);
    const mScale = scaleFor(Math.max(...m.subarray(first, end).map(Math.abs)), 0.9375);
    const rootScale = scaleFor(Math.max(...newRoots.subarray(first, end)), 0.96875);
    const inverse = (value: number): number => (value === 0 ? 0 : Math.fround(1 / value));
    for (let i = first; i < end; i++) {
      const magnitude = nearest(firstMoment, Math.fround(Math.abs(m[i]!) * inverse(mScale)));
      next.m[i] = magnitude === 0 ? 0 : magnitude | (bitsOf(m[i]!) >>> 31 ? 128 : 0);
      next.root[i] = Math.max(newRoots[i]! > 0 ? 1 : 0, nearest(root, Math.fround(newRoots[i]! * inverse(rootScale))));
    }
    next.mScales[at] = mScale;
    next.rootScales[at] = rootScale;
  }
  return next;
}

/** Gradients of very different sizes, some zero, some denormal. */
const gradients = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => {
    const size = [1, 1e-3, 1e-6, 0, 1e-41, 30][(i * 7 + seed) % 6]!;
    return size * Math.sin(seed * 91.7 + i * 13.31) * (i < block ? 1 : i < 2 * block ? 1e-20 : 1e-35);
  });

const tensorOf = (bytes: ArrayBufferView, shape: readonly number[], dtype: Dtype): Tensor =>
  adopt(native().fromBytes(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), shape, dtypeCode(dtype)));

const paths = native().simdPaths();

describe.each(paths)('path %s', (path: SimdPath) => {
  it.each([1, 255, 256, 600, 20_000])('fp32, %i elements', (count) => {
    const blocks = Math.ceil(count / block);
    let state: State = {
      weights: Float32Array.from({ length: count }, (_, i) => Math.sin(i)),
      m: new Uint8Array(count),
      root: new Uint8Array(count),
      mScales: new Float32Array(blocks),
      rootScales: new Float32Array(blocks),
    };
    scope(() => {
      const weight = tensorOf(state.weights, [count], 'float32');
      const [m, r] = [tensorOf(state.m, [count], 'uint8'), tensorOf(state.root, [count], 'uint8')];
      const [ms, rs] = [tensorOf(state.mScales, [blocks], 'float32'), tensorOf(state.rootScales, [blocks], 'float32')];
      for (let round = 0; round < 4; round++) {
        const g = gradients(count, round);
        state = step(state, g, 0.5);
        const tensors = {
          gradient: tensorOf(g, [count], 'float32').handle,
          weight: weight.handle,
          low: null,
          m: m.handle,
          root: r.handle,
          mScales: ms.handle,
          rootScales: rs.handle,
          weightOut: null,
        };
        native().optimizerUpdateCompressed(path, group, 0.5, tensors, 2);
        const read = (tensor: Tensor): Buffer => Buffer.from(ops.toBytes(tensor));
        expect(read(ms).equals(Buffer.from(state.mScales.buffer))).toBe(true);
        expect(read(rs).equals(Buffer.from(state.rootScales.buffer))).toBe(true);
        expect(read(m).equals(Buffer.from(state.m))).toBe(true);
        expect(read(r).equals(Buffer.from(state.root))).toBe(true);
        expect(read(weight).equals(Buffer.from(state.weights.buffer))).toBe(true);
      }
    });
  });

  it('a bf16 weight and its correction are the fp32 master, exactly', () => {
    const count = 70_000;
    // Every lower half of a master, among them ties, with several upper ones.
    const masters = Float32Array.from({ length: count }, (_, i) =>
      floatOf((([0x3f80, 0x3f81, 0xbf80, 0x0000, 0x7f7f, 0x0080][i % 6]! << 16) | (i & 0xffff)) >>> 0),
    );
    const bits = new Uint32Array(masters.buffer);
    const weights = Uint16Array.from(bits, (each) => (each + 0x8000) >>> 16);
    const low = Uint16Array.from(bits, (each) => each & 0xffff);
    scope(() => {
      const still = { ...group, lr: 0 };
      const weight = tensorOf(weights, [count], 'bfloat16');
      const correction = tensorOf(low, [count], 'int16');
      const whole = tensorOf(masters.slice(), [count], 'float32');
      const zeros = (shape: number[], dtype: Dtype): Tensor => ops.zeros(shape, { dtype });
      const rest = () => ({
        m: zeros([count], 'uint8').handle,
        root: zeros([count], 'uint8').handle,
        mScales: zeros([Math.ceil(count / block)], 'float32').handle,
        rootScales: zeros([Math.ceil(count / block)], 'float32').handle,
        weightOut: null,
      });
      const gradient = zeros([count], 'bfloat16').handle;
      native().optimizerUpdateCompressed(
        path,
        still,
        1,
        { gradient, weight: weight.handle, low: correction.handle, ...rest() },
        1,
      );
      expect(Buffer.from(ops.toBytes(weight)).equals(Buffer.from(weights.buffer))).toBe(true);
      expect(Buffer.from(ops.toBytes(correction)).equals(Buffer.from(low.buffer))).toBe(true);
      // And a real step is that of the fp32 weight.
      const g = ops.to(tensorOf(gradients(count, 5), [count], 'float32'), { dtype: 'bfloat16' }).handle;
      native().optimizerUpdateCompressed(
        path,
        group,
        1,
        { gradient: g, weight: weight.handle, low: correction.handle, ...rest() },
        1,
      );
      native().optimizerUpdateCompressed(
        path,
        group,
        1,
        { gradient: g, weight: whole.handle, low: null, ...rest() },
        1,
      );
      const expected = new Uint32Array(new Uint8Array(ops.toBytes(whole)).buffer);
      expect(
        Buffer.from(ops.toBytes(correction)).equals(
          Buffer.from(Uint16Array.from(expected, (each) => each & 0xffff).buffer),
        ),
      ).toBe(true);
      expect(
        Buffer.from(ops.toBytes(weight)).equals(
          Buffer.from(Uint16Array.from(expected, (each) => (each + 0x8000) >>> 16).buffer),
        ),
      ).toBe(true);
    });
  });
});

describe('training', () => {
  it('begins with weights and corrections that are the given fp32 values, exactly', () => {
    const context = launch(settings({ precision: 'bf16', optimizer: { states: 'compressed' } }));
    // More than is split at a time, ties among them.
    const [rows, columns] = [1030, 1021];
    const given = Float32Array.from({ length: rows * columns }, (_, i) =>
      i % 5 === 0 ? floatOf(((0x3f80 + (i % 7)) << 16) | 0x8000) : Math.sin(i),
    );
    const values: ValueSource = ({ shape }) =>
      shape.length === 2 ? ops.fromArray(given, shape) : ops.zeros(shape, { dtype: 'float32' });
    const engine = initialize({ context, model: new Linear(columns, rows), values });
    const read = (kind: string): Uint16Array => {
      const entry = engine.store
        .stateEntries()
        .find(({ parameter, kind: each }) => each === kind && parameter.shape.length === 2)!;
      const bytes = new Uint8Array(entry.bytes);
      entry.read(bytes, 0);
      return new Uint16Array(bytes.buffer);
    };
    const [weight, low] = [read('weight'), read('correction')];
    const back = Uint32Array.from(weight, (upper, i) => ((upper - (low[i]! >>> 15)) << 16) | low[i]!);
    expect(Buffer.from(back.buffer).equals(Buffer.from(given.buffer))).toBe(true);
    engine.dispose();
  });

  it.each(['bf16', 'fp32'] as const)('in %s: states of the stated size, and a loss near the exact one', (precision) => {
    const { ids, labels } = tokens(4, 16, 1);
    const run = (states: 'exact' | 'compressed') => {
      const { engine, model } = startGpt({
        precision,
        optimizer: { states, learningRate: 3e-3 },
        train: { steps: 60 },
      });
      const losses = Array.from({ length: 60 }, () => {
        engine.zeroGrad();
        const loss = engine.forward({ ids, labels });
        const value = loss.item();
        engine.backward(loss);
        engine.step();
        return value;
      });
      const bytes = engine.store.stateEntries().reduce((sum, entry) => sum + entry.bytes, 0);
      const perParameter = bytes / model.parameterCount;
      engine.dispose();
      return { losses, perParameter };
    };
    const [exact, compressed] = [run('exact'), run('compressed')];
    expect(exact.perParameter).toBe(precision === 'bf16' ? 14 : 12);
    expect(compressed.perParameter).toBeGreaterThan(6);
    expect(compressed.perParameter).toBeLessThan(6.2);
    const [a, b] = [exact.losses.at(-1)!, compressed.losses.at(-1)!];
    expect(a).toBeLessThan(exact.losses[0]! / 2);
    expect(Math.abs(b - a)).toBeLessThan(0.15 * exact.losses[0]!);
    expect(b).not.toBe(a);
    for (const each of [ids, labels]) each.dispose();
  });
});
