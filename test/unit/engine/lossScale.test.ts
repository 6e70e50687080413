/** The loss scale's state machine against tables worked out by hand: event, scale afterwards, row of the table of moves. */
import { describe, expect, it } from 'vitest';
import {
  initialLossScale,
  type LossScaleSettings,
  type LossScaleState,
  moveLossScale,
  restoredLossScale,
} from '../../../src/engine/precision/lossScale.ts';
import { LossScaler } from '../../../src/engine/precision/lossScaler.ts';

const standard: LossScaleSettings = {
  constant: null,
  initial: 65536,
  growthFactor: 2,
  backoffFactor: 0.5,
  growthInterval: 1000,
  hysteresis: 2,
  minimum: 1,
  maximum: 4294967296,
};

type Row = readonly ['finite' | 'overflow', number, string];

function check(settings: LossScaleSettings, rows: readonly Row[], from = initialLossScale(settings)): LossScaleState {
  let state = from;
  for (const [index, [event, scale, name]] of rows.entries()) {
    const { state: next, move } = moveLossScale(state, event, settings);
    expect([index, event, next.scale, move]).toEqual([index, event, scale, name]);
    state = next;
  }
  return state;
}

describe('the moves', () => {
  it('with hysteresis 2: the first overflow since the scale grew is tolerated, each further one halves', () => {
    check({ ...standard, growthInterval: 3 }, [
      ['finite', 65536, 'count'],
      ['finite', 65536, 'count'],
      ['finite', 131072, 'grow'],
      ['overflow', 131072, 'tolerate'],
      ['overflow', 65536, 'back off'],
      ['finite', 65536, 'count'],
      ['overflow', 32768, 'back off'],
      ['finite', 32768, 'count'],
      ['finite', 32768, 'count'],
      ['finite', 65536, 'grow'],
      ['overflow', 65536, 'tolerate'],
      ['finite', 65536, 'count'],
      ['finite', 65536, 'count'],
      ['overflow', 32768, 'back off'],
      ['finite', 32768, 'count'],
      ['finite', 32768, 'count'],
      ['finite', 65536, 'grow'],
    ]);
  });

  it('with hysteresis 1: every overflow halves', () => {
    check({ ...standard, hysteresis: 1, growthInterval: 2 }, [
      ['overflow', 32768, 'back off'],
      ['finite', 32768, 'count'],
      ['finite', 65536, 'grow'],
      ['overflow', 32768, 'back off'],
      ['overflow', 16384, 'back off'],
    ]);
  });

  it('grows after exactly 1000 good steps in a row', () => {
    let state = initialLossScale(standard);
    for (let step = 1; step <= 999; step++) state = moveLossScale(state, 'finite', standard).state;
    expect(state).toEqual({ scale: 65536, goodSteps: 999, overflows: 0 });
    const broken = moveLossScale(state, 'overflow', standard).state;
    expect(broken).toEqual({ scale: 65536, goodSteps: 0, overflows: 1 });
    state = moveLossScale(state, 'finite', standard).state;
    expect(state).toEqual({ scale: 131072, goodSteps: 0, overflows: 0 });
  });

  it('stays within its bounds', () => {
    const narrow = { ...standard, initial: 4, minimum: 3, maximum: 6, growthInterval: 1, hysteresis: 1 };
    check(narrow, [
      ['finite', 6, 'grow'],
      ['finite', 6, 'grow'],
      ['overflow', 3, 'back off'],
      ['overflow', 3, 'back off'],
      ['finite', 6, 'grow'],
    ]);
  });

  it('takes 16 halvings and the tolerated one from the standard start to its floor', () => {
    let state = initialLossScale(standard);
    const scales: number[] = [];
    while (state.scale > standard.minimum) {
      state = moveLossScale(state, 'overflow', standard).state;
      scales.push(state.scale);
    }
    expect(scales).toEqual([65536, 32768, 16384, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2, 1]);
  });

  it('never moves a constant scale', () => {
    const constant = { ...standard, constant: 1000 };
    check(constant, [
      ['finite', 1000, 'stay'],
      ['overflow', 1000, 'stay'],
      ['overflow', 1000, 'stay'],
    ]);
    expect(new LossScaler(constant).canFall).toBe(false);
  });
});

describe('the scaler', () => {
  it('goes on from its saved state as if nothing had been', () => {
    const settings = { ...standard, growthInterval: 4 };
    const events = [false, false, true, true, false, true, false, false, false, false, true, false];
    const whole = new LossScaler(settings);
    const scales = events.map((overflow) => {
      whole.stepEnded(overflow);
      return whole.scale;
    });
    for (const cut of events.keys()) {
      const first = new LossScaler(settings);
      for (const overflow of events.slice(0, cut)) first.stepEnded(overflow);
      const second = new LossScaler(settings);
      second.restore(JSON.parse(JSON.stringify(first.state)));
      const rest = events.slice(cut).map((overflow) => {
        second.stepEnded(overflow);
        return second.scale;
      });
      expect(rest).toEqual(scales.slice(cut));
    }
  });

  it('can fall until it is at its floor', () => {
    const scaler = new LossScaler({ ...standard, initial: 2, hysteresis: 1 });
    expect(scaler.canFall).toBe(true);
    scaler.stepEnded(true);
    expect([scaler.scale, scaler.canFall]).toEqual([1, false]);
  });

  it('brings a saved scale into the bounds of this run, and refuses what is none', () => {
    const saved = { scale: 2 ** 20, goodSteps: 7, overflows: 2 };
    expect(restoredLossScale(saved, { ...standard, maximum: 65536, hysteresis: 1 })).toEqual({
      scale: 65536,
      goodSteps: 7,
      overflows: 1,
    });
    expect(restoredLossScale(saved, { ...standard, constant: 8 }).scale).toBe(8);
    for (const bad of [
      undefined,
      'x',
      {},
      { ...saved, scale: 0 },
      { ...saved, scale: Infinity },
      { ...saved, goodSteps: -1 },
    ]) {
      expect(() => restoredLossScale(bad, standard)).toThrow('malformed');
    }
  });
});
