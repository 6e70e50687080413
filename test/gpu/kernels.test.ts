/** The optimizer's kernels on a GPU against the scalar reference on the CPU, bit for bit. */
import { describe, expect, it } from 'vitest';
import type { UpdateTensors } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';
import { type Dtype, dtypeBytes, dtypeCode, noGrad, ops, scope, type Tensor } from '../../src/tensor/index.ts';
import { bytesOf, floatDtypes, group, patterns, random64 } from '../native/optimPatterns.ts';
import { bytesOn, device, onDevice, sameBytes } from './kernelsSupport.ts';

const rules = [
  ['adamw', group()],
  ['adamw', group({ weightDecay: 0, biasCorrection1: 1, biasCorrection2: 1, eps: 1e-15 })],
  ['sgd', group({ lr: 0.1 })],
  ['sgd', group({ lr: 0.1, momentum: 0.9 })],
  ['sgd', group({ lr: 0.1, momentum: 0.9, nesterov: true })],
  ['lion', group({ beta2: 0.99 })],
] as const;
type Rule = (typeof rules)[number][0];

interface Case {
  readonly gradientType: Dtype;
  readonly state: 'float32' | 'float64';
  readonly parameterType: Dtype;
  readonly count: number;
  readonly bytes: Record<'gradient' | 'master' | 'm' | 'v' | 'parameterOut', Uint8Array<ArrayBuffer>>;
}

function makeCase(next: () => bigint, shape: Omit<Case, 'bytes'>): Case {
  const { gradientType, state, parameterType, count } = shape;
  const some = (dtype: Dtype) => patterns(next, dtype as (typeof floatDtypes)[number], count);
  const bytes = {
    gradient: some(gradientType),
    master: some(state),
    m: some(state),
    v: some(state),
    parameterOut: new Uint8Array(count * dtypeBytes(parameterType)),
  };
  return { ...shape, bytes };
}

/** What the scalar reference makes of it. */
function expected(rule: Rule, settings: ReturnType<typeof group>, scale: number, made: Case): Case['bytes'] {
  const out = Object.fromEntries(
    Object.entries(made.bytes).map(([key, bytes]) => [key, new Uint8Array(bytes)]),
  ) as Case['bytes'];
  native().optimizerUpdateBuffers('scalar', rule, settings, scale, {
    gradient: out.gradient,
    gradientDtype: dtypeCode(made.gradientType),
    stateDtype: dtypeCode(made.state),
    master: out.master,
    m: out.m,
    v: out.v,
    masterOut: out.master,
    mOut: out.m,
    vOut: out.v,
    parameterOut: out.parameterOut,
    parameterDtype: dtypeCode(made.parameterType),
  });
  return out;
}

type Placed = Record<keyof Case['bytes'], Tensor>;

function place(made: Case, offset: number): Placed {
  const types = { gradient: made.gradientType, master: made.state, m: made.state, v: made.state };
  const all: Record<string, Dtype> = { ...types, parameterOut: made.parameterType };
  return Object.fromEntries(
    Object.entries(made.bytes).map(([key, bytes]) => [key, onDevice(bytes, all[key]!, offset)]),
  ) as Placed;
}

const handles = (placed: Placed): UpdateTensors => ({
  gradient: placed.gradient.handle,
  master: placed.master.handle,
  m: placed.m.handle,
  v: placed.v.handle,
  parameterOut: placed.parameterOut.handle,
});

function compare(placed: Placed, wanted: Case['bytes'], what: string): void {
  for (const key of ['master', 'm', 'v', 'parameterOut'] as const) {
    if (!sameBytes(bytesOn(placed[key], wanted[key].length), wanted[key])) expect.fail(`${key} differs: ${what}`);
  }
}

describe('optimizer kernels', () => {
  if (typeof device !== 'string') {
    it.skip(`skipped: ${device.reason}`, () => {});
    return;
  }
  const addon = native();

  describe.each(['float32', 'float64'] as const)('update of %s state', (state) => {
    it.each(rules.map(([rule, settings]) => ({ rule, settings })))('$rule $settings', ({ rule, settings }) => {
      const next = random64(rule.length * 37 + state.length);
      for (const gradientType of floatDtypes) {
        for (const parameterType of floatDtypes) {
          for (const [count, offset] of [
            [1, 0],
            [517, 0],
            [517, 1],
            [2051, 3],
            [9000, 0],
          ] as const) {
            const made = makeCase(next, { gradientType, state, parameterType, count });
            const scale = count % 2 === 0 ? 1 : 0.37;
            scope(() => {
              const placed = place(made, offset);
              addon.optimizerUpdate(rule, settings, scale, handles(placed), 1);
              const what = `${gradientType} → ${parameterType}, ${count} elements, offset ${offset}`;
              compare(placed, expected(rule, settings, scale, made), what);
            });
          }
        }
      }
    });
  });

  it('updates many tensors of many groups at once, whatever their alignment', () => {
    const next = random64(99);
    const groups = Array.from({ length: 11 }, (_, i) => group({ lr: 10 ** -i, weightDecay: i / 10 }));
    const cases = Array.from({ length: 120 }, (_, i) =>
      makeCase(next, {
        gradientType: i % 3 === 0 ? 'float32' : 'bfloat16',
        state: 'float32',
        parameterType: 'bfloat16',
        count: i === 7 ? 20_000 : i % 10 === 3 ? 0 : 1 + ((i * 37) % 300),
      }),
    );
    const groupOf = cases.map((_, i) => (i * 5) % groups.length);
    scope(() => {
      const placed = cases.map((made, i) => place(made, i % 4));
      addon.optimizerUpdateMany('adamw', groups, groupOf, 0.5, placed.map(handles), 1);
      for (const [i, made] of cases.entries()) {
        compare(placed[i]!, expected('adamw', groups[groupOf[i]!]!, 0.5, made), `tensor ${i}`);
      }
    });
  });

  it('sums squares of many tensors in the canonical order', () => {
    const next = random64(5);
    for (const dtype of floatDtypes) {
      const counts = [0, 1, 31, 33, 4095, 4096, 4097, 9000, 100_000, ...Array.from({ length: 180 }, (_, i) => i * 3)];
      const all = counts.map((count, i) => {
        if (i % 3 === 0 && count < 20_000) return patterns(next, dtype, count);
        const plain = new Uint8Array(count * dtypeBytes(dtype));
        const values = Float64Array.from({ length: count }, () => Number(next() % 2000n) / 7 - 140);
        addon.castBytes('scalar', plain, dtypeCode(dtype), bytesOf(values), dtypeCode('float64'));
        return plain;
      });
      scope(() => {
        const tensors = all.map((bytes, i) => onDevice(bytes, dtype, i % 3));
        const got = addon.sumSquaresMany(
          tensors.map(({ handle }) => handle),
          1,
        );
        const wanted = all.map((bytes) => addon.sumSquaresBytes('scalar', bytes, dtypeCode(dtype)));
        expect(got).toEqual(wanted);
        expect(got.some(({ nonFinite }) => nonFinite > 0)).toBe(true);
        expect(addon.sumSquares(tensors[8]!.handle, 1)).toEqual(wanted[8]);
      });
    }
  });

  it('sums the squares of a large tensor as the CPU does', () => {
    scope(() =>
      noGrad(() => {
        const host = ops.empty([30_000_001], { dtype: 'float32' });
        ops.normalInPlace(host, 0, 3);
        const there = ops.to(host, { device: device as string });
        expect(addon.sumSquares(there.handle, 1)).toEqual(addon.sumSquares(host.handle, 2));
      }),
    );
  });

  it('accumulates and converts every pair of types', () => {
    const next = random64(12);
    for (const from of floatDtypes) {
      for (const to of floatDtypes) {
        for (const [count, offset] of [
          [1, 0],
          [300, 1],
          [2049, 0],
          [5000, 2],
        ] as const) {
          const source = patterns(next, from, count);
          const start = patterns(next, to, count);
          scope(() => {
            const [given, into] = [onDevice(source, from, offset), onDevice(start, to, offset)];
            const wanted = new Uint8Array(start);
            addon.castInto(into.handle, given.handle, 1);
            addon.castBytes('scalar', wanted, dtypeCode(to), source, dtypeCode(from));
            if (!sameBytes(bytesOn(into, wanted.length), wanted)) expect.fail(`cast ${from} → ${to}, ${count}`);
            if (to !== 'float32' && to !== 'float64') return;
            for (const scale of [1, 0.1]) {
              addon.accumulate(into.handle, given.handle, scale, 1);
              addon.accumulateBytes('scalar', wanted, dtypeCode(to), source, dtypeCode(from), scale);
              if (!sameBytes(bytesOn(into, wanted.length), wanted)) expect.fail(`accumulate ${from} → ${to}, ${count}`);
            }
          });
        }
      }
    }
  });

  it('refuses tensors of different devices', () => {
    scope(() => {
      const [there, here] = [ops.zeros([4], { device: device as string }), ops.zeros([4])];
      expect(() => addon.accumulate(there.handle, here.handle, 1, 1)).toThrow(
        /is on the CPU, the others are on cuda:0/,
      );
      expect(() => addon.sumSquaresMany([here.handle, there.handle], 1)).toThrow(/others are on the CPU/);
    });
  });
});
