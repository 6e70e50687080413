/** The scalar reference against what it is defined by: torch's values, exact rounding, the written order of additions. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { UpdateRule } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { constant, groupParameters, hyperparametersAt, optimizerFrom } from '../../src/optim/index.ts';
import { dtypeCode } from '../../src/tensor/dtype.ts';
import { bytesOf, group, patterns, random64 } from './optimPatterns.ts';

const addon = native();
const [bf16, fp16, fp32, fp64] = (['bfloat16', 'float16', 'float32', 'float64'] as const).map(dtypeCode) as [
  number,
  number,
  number,
  number,
];

interface Golden {
  readonly name: UpdateRule;
  readonly learningRate: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weightDecay: number;
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly weights: readonly number[];
}
/** Made by test/goldens/optim/updates.py with torch.optim in float64. */
const golden = JSON.parse(readFileSync(new URL('../goldens/optim/updates.json', import.meta.url), 'utf8')) as {
  readonly start: readonly number[];
  readonly gradients: readonly (readonly number[])[];
  readonly cases: readonly Golden[];
};

describe('update', () => {
  it.each(golden.cases)(
    '$name with momentum $momentum, nesterov $nesterov, decay $weightDecay has the values of torch.optim',
    (settings) => {
      const shape = [golden.start.length, 1];
      const own = groupParameters([{ name: 'w', shape }], optimizerFrom(settings)).groups[0]!;
      const master = Float64Array.from(golden.start);
      const [m, v] = [new Float64Array(master.length), new Float64Array(master.length)];
      golden.gradients.forEach((values, step) => {
        addon.optimizerUpdateBuffers('scalar', settings.name, hyperparametersAt(step, own, constant()), 1, {
          gradient: bytesOf(Float64Array.from(values)),
          gradientDtype: fp64,
          stateDtype: fp64,
          master: bytesOf(master),
          m: bytesOf(m),
          v: bytesOf(v),
          masterOut: bytesOf(master),
          mOut: bytesOf(m),
          vOut: bytesOf(v),
          parameterOut: null,
          parameterDtype: fp64,
        });
      });
      settings.weights.forEach((weight, i) => {
        expect(Math.abs(master[i]! - weight)).toBeLessThan(1e-13 * Math.max(1, Math.abs(weight)));
      });
    },
  );

  const updateOne = (gradient: number, master: number, m: number, v: number, settings = group()) => {
    const [w, m1, v1] = [master, m, v].map((x) => Float32Array.of(x)) as [Float32Array, Float32Array, Float32Array];
    addon.optimizerUpdateBuffers('scalar', 'adamw', settings, 1, {
      gradient: bytesOf(Float32Array.of(gradient)),
      gradientDtype: fp32,
      stateDtype: fp32,
      master: bytesOf(w),
      m: bytesOf(m1),
      v: bytesOf(v1),
      masterOut: bytesOf(w),
      mOut: bytesOf(m1),
      vOut: bytesOf(v1),
      parameterOut: null,
      parameterDtype: fp32,
    });
    return { master: w, m: m1, v: v1 };
  };

  it('keeps denormal moments', () => {
    const { m, v } = updateOne(0, 1, 2e-40, 4e-42);
    expect(m[0]).toBeCloseTo(1.8e-40, 44);
    expect(m[0]).toBeGreaterThan(0);
    expect(v[0]).toBeGreaterThan(0);
  });

  it('stores a NaN without sign or payload', () => {
    const { master, m } = updateOne(Number.POSITIVE_INFINITY, 1, Number.NEGATIVE_INFINITY, 1);
    expect(new Uint32Array(master.buffer)[0]).toBe(0x7fc00000);
    expect(new Uint32Array(m.buffer)[0]).toBe(0x7fc00000);
  });

  it('does not lose a decay smaller than half an ulp of 1 when it meets the step', () => {
    // 1 - lr * weightDecay rounds to 1 in fp32; together with the step the decay still moves the weight.
    const settings = group({ lr: 2.9e-8, weightDecay: 1, biasCorrection1: 1, biasCorrection2: 1, beta1: 0, beta2: 0 });
    expect(updateOne(1, 1, 0, 0, settings).master[0]).toBeLessThan(1);
    expect(updateOne(1, 1, 0, 0, { ...settings, weightDecay: 0 }).master[0]).toBe(1);
  });
});

describe('conversion', () => {
  const convert = (values: Uint8Array, from: number, to: number, bytes: number) => {
    const out = new Uint8Array(bytes);
    addon.castBytes('scalar', out, to, values, from);
    return out;
  };

  it('rounds fp32 to the nearest bfloat16 and half, ties to even', () => {
    // Nearest by search over all finite values of the narrow type, widened exactly.
    for (const narrow of [bf16, fp16]) {
      const top = narrow === bf16 ? 0x7f80 : 0x7c00;
      const all = Uint16Array.from({ length: top }, (_, i) => i);
      const wide = new Float32Array(convert(new Uint8Array(all.buffer), narrow, fp32, 4 * top).buffer);
      for (let i = 1; i < top; i++) if (!(wide[i]! > wide[i - 1]!)) expect.fail(`not increasing at ${i}`);
      const samples = new Float32Array(4 * (top - 1));
      for (let i = 0; i + 1 < top; i++) {
        const middle = (wide[i]! + wide[i + 1]!) / 2; // exact in fp32 for halves, and for bfloat16 above its least
        samples.set([wide[i]!, middle, nextUp(middle), nextDown(middle)], 4 * i);
      }
      const got = new Uint16Array(convert(bytesOf(samples), fp32, narrow, 2 * samples.length).buffer);
      for (let i = 0; i + 1 < top; i++) {
        const expected = [i, i % 2 === 0 ? i : i + 1, i + 1, i];
        for (let k = 0; k < 4; k++) {
          if (got[4 * i + k] !== expected[k])
            expect.fail(`${samples[4 * i + k]} became ${got[4 * i + k]}, not ${expected[k]}`);
        }
      }
    }
  });

  it('overflows to infinity only past half a step above the largest', () => {
    const samples = Float32Array.of(65504, 65519.996, 65520, 1e9, -65520, Number.POSITIVE_INFINITY);
    const got = new Uint16Array(convert(bytesOf(samples), fp32, fp16, 12).buffer);
    expect([...got]).toEqual([0x7bff, 0x7bff, 0x7c00, 0x7c00, 0xfc00, 0x7c00]);
  });

  it('turns every NaN into the canonical one', () => {
    const nans = new Uint8Array(Uint32Array.of(0x7f800001, 0xffc12345, 0x7fffffff).buffer);
    expect([...new Uint16Array(convert(nans, fp32, fp16, 6).buffer)]).toEqual([0x7e00, 0x7e00, 0x7e00]);
    expect([...new Uint16Array(convert(nans, fp32, bf16, 6).buffer)]).toEqual([0x7fc0, 0x7fc0, 0x7fc0]);
    expect(new BigUint64Array(convert(nans, fp32, fp64, 24).buffer)[1]).toBe(0x7ff8000000000000n);
  });
});

describe('squared norm', () => {
  it('adds in the written order', () => {
    // Products of fp32 are exact in double, so that plain arithmetic here equals the fused one there.
    const next = random64(3);
    for (const count of [1, 100, 4096, 5000, 12_345]) {
      const values = Float32Array.from({ length: count }, () => (Number(next() % 100_003n) / 7 - 7000) * 1e-3);
      let sum = 0;
      for (let first = 0; first < count; first += 4096) {
        const lanes = new Float64Array(32);
        values.subarray(first, first + 4096).forEach((x, i) => {
          lanes[i % 32]! += x * x;
        });
        for (let half = 16; half >= 1; half /= 2) for (let l = 0; l < half; l++) lanes[l]! += lanes[l + half]!;
        sum += lanes[0]!;
      }
      expect(addon.sumSquaresBytes('scalar', bytesOf(values), fp32)).toEqual({ sum, nonFinite: 0 });
    }
  });

  it('counts what is not finite, and only that', () => {
    const bytes = patterns(random64(5), 'float64', 5000);
    const values = new Float64Array(bytes.buffer);
    const expected = values.filter((x) => !Number.isFinite(x)).length;
    expect(expected).toBeGreaterThan(100);
    expect(addon.sumSquaresBytes('scalar', bytes, fp64).nonFinite).toBe(expected);
    // Squares that overflow are not elements that did.
    expect(addon.sumSquaresBytes('scalar', bytesOf(Float64Array.of(1e300, 2)), fp64)).toEqual({
      sum: Number.POSITIVE_INFINITY,
      nonFinite: 0,
    });
  });
});

function step(x: number, by: number): number {
  const value = Float32Array.of(x);
  const bits = new Int32Array(value.buffer);
  bits[0]! += by;
  return value[0]!;
}
const nextUp = (x: number) => step(x, 1);
const nextDown = (x: number) => step(x, -1);
