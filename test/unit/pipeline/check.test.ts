/** The checker finds what it is there for: each kind of damage to a good schedule is refused by name. */
import { describe, expect, it } from 'vitest';
import {
  type Action,
  buildSchedule,
  checkSchedule,
  draw,
  isTransfer,
  label,
  type Schedule,
  simulate,
} from '../../../src/dist/pipeline/schedule/index.ts';

const good = buildSchedule({ schedule: '1f1b', ranks: 3, microBatches: 4 });

/** `good` with the actions of one rank changed. */
const with1f1b = (rank: number, change: (list: Action[]) => Action[]): Schedule => ({
  ...good,
  actions: good.actions.map((list, own) => (own === rank ? change([...list]) : list)),
});

const swap = (list: Action[], a: string, b: string): Action[] => {
  const at = (name: string): number => list.findIndex((action) => label(action) === name);
  const [i, j] = [at(a), at(b)];
  expect(Math.min(i, j)).toBeGreaterThanOrEqual(0);
  [list[i], list[j]] = [list[j]!, list[i]!];
  return list;
};

describe('the checker', () => {
  it('accepts what is right', () => {
    expect(() => checkSchedule(good)).not.toThrow();
  });

  it('misses no work', () => {
    const lacking = with1f1b(1, (list) => list.filter((action) => label(action) !== 'B1.2'));
    expect(() => checkSchedule(lacking)).toThrow('stage 1, micro-batch 2: forward');
    const twice = with1f1b(2, (list) => [...list, { kind: 'forward', stage: 2, microBatch: 0 }]);
    expect(() => checkSchedule(twice)).toThrow('stage 2, micro-batch 0: forward backward forward');
    const stranger = with1f1b(0, (list) => [...list, { kind: 'forward', stage: 1, microBatch: 0 }]);
    expect(() => checkSchedule(stranger)).toThrow('rank 0 computes F1.0');
  });

  it('keeps sums in ascending order', () => {
    expect(() => checkSchedule(with1f1b(2, (list) => swap(swap(list, 'F2.0', 'F2.1'), 'B2.0', 'B2.1')))).toThrow(
      'B2.0 comes after micro-batch 1',
    );
  });

  it('matches sends and receives in order', () => {
    expect(() => checkSchedule(with1f1b(1, (list) => swap(list, 'a0.0<0', 'a0.1<0')))).toThrow(
      'from rank 0 to 1, message 0: activation 0.0 is sent, activation 0.1 is received',
    );
    const silent = with1f1b(0, (list) => list.filter((action) => label(action) !== 'a0.3>1'));
    expect(() => checkSchedule(silent)).toThrow('activation 0.3 is never sent');
  });

  it('finds deadlocks that only waiting transfers have', () => {
    // Rank 0 sends its next activation before it takes the gradient, rank 1 sends the gradient before the activation.
    const F = (stage: number, microBatch: number): Action => ({ kind: 'forward', stage, microBatch });
    const B = (stage: number, microBatch: number): Action => ({ kind: 'backward', stage, microBatch });
    const move = (kind: 'send' | 'receive', payload: 'activation' | 'gradient', microBatch: number): Action => {
      const stage = payload === 'activation' ? 0 : 1;
      return { kind, payload, stage, microBatch, peer: (kind === 'send') === (stage === 0) ? 1 : 0 };
    };
    const crossed: Schedule = {
      ...buildSchedule({ schedule: '1f1b', ranks: 2, microBatches: 2 }),
      actions: [
        [
          F(0, 0),
          move('send', 'activation', 0),
          F(0, 1),
          move('send', 'activation', 1),
          move('receive', 'gradient', 0),
          B(0, 0),
          move('receive', 'gradient', 1),
          B(0, 1),
        ],
        [
          move('receive', 'activation', 0),
          F(1, 0),
          B(1, 0),
          move('send', 'gradient', 0),
          move('receive', 'activation', 1),
          F(1, 1),
          B(1, 1),
          move('send', 'gradient', 1),
        ],
      ],
    };
    expect(() => simulate(crossed, undefined, 'buffered')).not.toThrow();
    expect(() => checkSchedule(crossed)).toThrow(
      'deadlocks with rendezvous transfers: rank 0 at a0.1>1, rank 1 at g1.0>0',
    );
  });

  it('finds work that stands before what it needs', () => {
    const early = with1f1b(1, (list) => swap(list, 'a0.0<0', 'F1.0'));
    expect(() => checkSchedule(early)).toThrow('deadlocks');
  });

  it('counts activations', () => {
    const greedy = { ...buildSchedule({ schedule: 'gpipe', ranks: 2, microBatches: 5 }), inFlightBound: [5, 3] };
    expect(() => checkSchedule(greedy)).toThrow('rank 1 keeps 5 activations alive, its bound is 3');
  });

  it('draws', () => {
    expect(draw(buildSchedule({ schedule: '1f1b', ranks: 2, microBatches: 2 }))).toBe(
      'rank 0 |F0 F1  .  . B0 B0  . B1 B1 |\nrank 1 | . F0 B0 B0 F1 B1 B1  .  . |',
    );
  });

  it('transfers and work of every action have distinct names', () => {
    const names = good.actions.flatMap((list, rank) => list.map((action) => `${rank} ${label(action)}`));
    expect(new Set(names).size).toBe(names.length);
    expect(good.actions.flat().filter(isTransfer)).toHaveLength(2 * 2 * 4 * 2);
  });
});
