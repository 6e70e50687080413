/** The formulas against the published table for one layer and p = 64, and against each other. */
import { describe, expect, it } from 'vitest';
import {
  linearVolume,
  type SequenceMode,
  sequenceVolume,
  type TensorMode,
  tensorVolume,
} from '../../../src/dist/costs/index.ts';

/** Coefficients of Mh and h² in what a rank receives per micro-batch: the formulas are linear in both. */
function coefficients(volume: (tokens: number, hidden: number) => number): {
  readonly mh: number;
  readonly hh: number;
} {
  const hidden = 64;
  const [at0, at1] = [volume(0, hidden), volume(1, hidden)];
  return { mh: (at1 - at0) / hidden, hh: at0 / hidden ** 2 };
}

const tensor = (mode: TensorMode) =>
  coefficients((tokens, hidden) => tensorVolume(mode, { tokens, hidden }).perMicroBatch);
const sequence = (mode: SequenceMode, keyValueShare = 1) => ({
  ...coefficients((tokens, hidden) => sequenceVolume(mode, { tokens, hidden, keyValueShare }).perMicroBatch),
  perStep: sequenceVolume(mode, { tokens: 5, hidden: 64, keyValueShare }).perStep / 64 ** 2,
});

describe('one layer over 64 ranks', () => {
  it.each([
    [{ kind: '1d', ranks: 64 }, 7.875, 0],
    [{ kind: '2d', side: 8 }, 2.296875, 3.9375],
    [{ kind: '2.5d', side: 4, depth: 4 }, 0.984375, 7.875],
    [{ kind: '3d', side: 4 }, 1.5, 1.125],
  ] as const)('%o', (mode, mh, hh) => {
    const found = tensor(mode);
    expect(found.mh).toBeCloseTo(mh, 10);
    expect(found.hh).toBeCloseTo(hh, 10);
  });

  it('sequence modes', () => {
    expect(sequence({ kind: 'split-gather', ranks: 64, saved: 'gathered' }).mh).toBeCloseTo(7.875, 10);
    expect(sequence({ kind: 'split-gather', ranks: 64, saved: 'split' }).mh).toBeCloseTo(9.84375, 10);
    const ulysses = sequence({ kind: 'ulysses', ranks: 64 });
    expect(ulysses.mh).toBeCloseTo((8 * 63) / 64 ** 2, 10);
    expect(ulysses.perStep).toBeCloseTo(23.625, 10);
    const ring = sequence({ kind: 'ring', ranks: 64 });
    expect(ring.mh).toBeCloseTo(5.90625, 10);
    expect(ring.perStep).toBeCloseTo(23.625, 10);
    expect(sequence({ kind: 'ring', ranks: 64 }, 1 / 8).mh).toBeCloseTo(5.90625 / 8, 10);
  });

  it('3D receives less than 1D once tokens exceed about 0.18 hidden, 2D once they exceed about 0.71', () => {
    const crossing = (mode: TensorMode): number => {
      const { mh, hh } = tensor(mode);
      return hh / (tensor({ kind: '1d', ranks: 64 }).mh - mh);
    };
    expect(crossing({ kind: '3d', side: 4 })).toBeCloseTo(0.1765, 3);
    expect(crossing({ kind: '2d', side: 8 })).toBeCloseTo(0.7059, 3);
  });
});

describe('one linear layer', () => {
  const shape = { tokens: 30, inputs: 20, outputs: 12, cut: 'column' } as const;
  const total = (mode: TensorMode, cut: 'column' | 'row' = 'column'): number => {
    const { forward, inputGradient, weightGradient } = linearVolume(mode, { ...shape, cut });
    return forward + inputGradient + weightGradient;
  };
  const [mk, kn, mn] = [600, 240, 360];

  it('totals as published', () => {
    expect(total({ kind: '1d', ranks: 4 })).toBeCloseTo(1.5 * mk, 10);
    expect(total({ kind: '1d', ranks: 4 }, 'row')).toBeCloseTo(1.5 * mn, 10);
    expect(total({ kind: '2d', side: 3 })).toBeCloseTo((3 * 2 * (mk + kn)) / 9, 10);
    expect(total({ kind: '2.5d', side: 2, depth: 3 })).toBeCloseTo(
      (3 / 4) * (mk / 3 + kn) + ((2 * 2) / 3) * (kn / 4),
      10,
    );
    expect(total({ kind: '3d', side: 2 })).toBeCloseTo((2 / 8) * (mk + kn + mn), 10);
  });

  it('alone, nothing is received', () => {
    const modes: TensorMode[] = [
      { kind: '1d', ranks: 1 },
      { kind: '2d', side: 1 },
      { kind: '2.5d', side: 1, depth: 1 },
      { kind: '3d', side: 1 },
    ];
    for (const mode of modes) expect(total(mode)).toBe(0);
  });

  it('2.5D of depth 1 is 2D', () => {
    expect(total({ kind: '2.5d', side: 4, depth: 1 })).toBe(total({ kind: '2d', side: 4 }));
  });
});
