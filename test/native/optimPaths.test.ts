/** Every instruction set against the scalar reference, bit for bit. */
import { describe, expect, it } from 'vitest';
import type { UpdateBytes } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { dtypeBytes, dtypeCode } from '../../src/tensor/dtype.ts';
import { bytesOf, floatDtypes, group, patterns, random64 } from './optimPatterns.ts';

const addon = native();
const fast = addon.simdPaths().filter((path) => path !== 'scalar');
const counts = [1, 7, 16, 31, 131, 517];
const rules = [
  ['adamw', group()],
  ['adamw', group({ weightDecay: 0, biasCorrection1: 1, biasCorrection2: 1, eps: 1e-15 })],
  ['sgd', group({ lr: 0.1 })],
  ['sgd', group({ lr: 0.1, momentum: 0.9 })],
  ['sgd', group({ lr: 0.1, momentum: 0.9, nesterov: true })],
  ['lion', group({ beta2: 0.99 })],
] as const;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

it('finds at least one vector path on this machine', () => {
  expect(fast.length).toBeGreaterThan(0);
  expect(addon.simdPaths()).toContain(addon.simdPath());
});

describe.each(fast)('%s', (path) => {
  describe.each(['float32', 'float64'] as const)('update of %s state', (state) => {
    it.each(rules.map(([rule, settings]) => ({ rule, settings })))('$rule $settings', ({ rule, settings }) => {
      const next = random64(rule.length * 31 + state.length);
      for (const gradientType of floatDtypes) {
        for (const parameterType of floatDtypes) {
          for (const count of counts) {
            const [gradient, master, m, v] = [gradientType, state, state, state].map((type) =>
              patterns(next, type, count),
            );
            const scale = count % 2 === 0 ? 1 : 0.37;
            const run = (on: typeof path | 'scalar', inPlace: boolean): UpdateBytes => {
              const own = (bytes: Uint8Array) => new Uint8Array(bytes);
              const bytes: Mutable<UpdateBytes> = {
                gradient: gradient!,
                gradientDtype: dtypeCode(gradientType),
                stateDtype: dtypeCode(state),
                master: own(master!),
                m: own(m!),
                v: own(v!),
                masterOut: own(master!),
                mOut: own(m!),
                vOut: own(v!),
                parameterOut: new Uint8Array(count * dtypeBytes(parameterType)),
                parameterDtype: dtypeCode(parameterType),
              };
              if (inPlace) Object.assign(bytes, { masterOut: bytes.master, mOut: bytes.m, vOut: bytes.v });
              addon.optimizerUpdateBuffers(on, rule, settings, scale, bytes);
              return bytes;
            };
            const expected = run('scalar', false);
            expect(expected.master).toEqual(master);
            for (const inPlace of [false, true]) {
              const got = run(path, inPlace);
              for (const key of ['masterOut', 'mOut', 'vOut', 'parameterOut'] as const) {
                const same = Buffer.compare(got[key]!, expected[key]!) === 0;
                if (!same) expect.fail(`${key} differs: ${gradientType} → ${parameterType}, ${count} elements`);
              }
              if (!inPlace && Buffer.compare(got.master, master!) !== 0) expect.fail('out of place wrote its input');
            }
          }
        }
      }
    });
  });

  it.each(floatDtypes)('squared norm of %s', (dtype) => {
    const next = random64(11);
    for (const count of [0, 1, 31, 32, 33, 4095, 4096, 4097, 9000]) {
      const awkward = patterns(next, dtype, count);
      expect(addon.sumSquaresBytes(path, awkward, dtypeCode(dtype))).toEqual(
        addon.sumSquaresBytes('scalar', awkward, dtypeCode(dtype)),
      );
      const plain = new Uint8Array(count * dtypeBytes(dtype));
      const values = Float64Array.from({ length: count }, () => Number(next() % 2000n) / 7 - 140);
      addon.castBytes('scalar', plain, dtypeCode(dtype), bytesOf(values), dtypeCode('float64'));
      const { sum, nonFinite } = addon.sumSquaresBytes(path, plain, dtypeCode(dtype));
      expect(nonFinite).toBe(0);
      expect(sum).toBe(addon.sumSquaresBytes('scalar', plain, dtypeCode(dtype)).sum);
    }
  });

  it('accumulation and conversion of every pair of types', () => {
    const next = random64(12);
    for (const from of floatDtypes) {
      for (const to of floatDtypes) {
        for (const count of [1, 15, 16, 17, 300]) {
          const source = patterns(next, from, count);
          const start = patterns(next, to, count);
          const [expected, got] = [new Uint8Array(start), new Uint8Array(start)];
          addon.castBytes('scalar', expected, dtypeCode(to), source, dtypeCode(from));
          addon.castBytes(path, got, dtypeCode(to), source, dtypeCode(from));
          expect(got, `cast ${from} → ${to}`).toEqual(expected);
          if (to !== 'float32' && to !== 'float64') continue;
          for (const scale of [1, 0.25, 0.1]) {
            const [sum, other] = [new Uint8Array(start), new Uint8Array(start)];
            addon.accumulateBytes('scalar', sum, dtypeCode(to), source, dtypeCode(from), scale);
            addon.accumulateBytes(path, other, dtypeCode(to), source, dtypeCode(from), scale);
            expect(other, `accumulate ${from} → ${to}`).toEqual(sum);
          }
        }
      }
    }
  });
});
