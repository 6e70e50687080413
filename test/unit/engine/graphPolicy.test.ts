import { describe, expect, it } from 'vitest';
import { GraphPolicy, type Turn } from '../../../src/engine/graphs/policy.ts';

/** What became of micro-batches of these kinds; graphs succeed, and timed ones waited for launches or did not. */
function turns(policy: GraphPolicy, kinds: readonly (string | null)[], waitSeconds = 0): Turn[] {
  return kinds.map((kind) => {
    const turn = policy.next(kind);
    if (turn === 'timed') policy.timed({ submitSeconds: 0.01, waitSeconds });
    if (turn === 'record') policy.recorded();
    return turn;
  });
}

const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);

describe('always', () => {
  it('records the fourth micro-batch of a kind in a row', () => {
    expect(turns(new GraphPolicy('always'), times(6, 'a'))).toEqual([
      ...times(3, 'plain'),
      'record',
      ...times(2, 'replay'),
    ]);
  });

  it('is plain for other kinds and goes on with its own', () => {
    const policy = new GraphPolicy('always');
    turns(policy, times(4, 'a'));
    expect(turns(policy, ['b', null, 'a', 'b', 'c', 'a'])).toEqual([
      'plain',
      'plain',
      'replay',
      'plain',
      'plain',
      'replay',
    ]);
  });

  it('never records kinds that take turns', () => {
    const seen = turns(
      new GraphPolicy('always'),
      Array.from({ length: 50 }, (_, index) => (index % 3 === 0 ? 'a' : 'b')),
    );
    expect(new Set(seen)).toEqual(new Set(['plain']));
  });

  it('records another kind after ten of it in a row, and then no more of the first', () => {
    const policy = new GraphPolicy('always');
    turns(policy, times(4, 'a'));
    expect(turns(policy, times(12, 'b'))).toEqual([...times(10, 'plain'), 'record', 'replay']);
    expect(turns(policy, ['a', 'b'])).toEqual(['plain', 'replay']);
  });

  it('gives up after a failure, whatever comes', () => {
    const policy = new GraphPolicy('always');
    for (let index = 0; index < 3; index++) policy.next('a');
    expect(policy.next('a')).toBe('record');
    policy.failed();
    expect(turns(policy, [...times(20, 'a'), ...times(20, 'b')])).toEqual(times(40, 'plain'));
  });
});

describe('auto', () => {
  it('times two micro-batches and records where the device was done with the host', () => {
    expect(turns(new GraphPolicy('auto'), times(5, 'a'), 0.0005)).toEqual([
      'plain',
      'timed',
      'timed',
      'record',
      'replay',
    ]);
  });

  it('does not where the device was busy longer', () => {
    expect(turns(new GraphPolicy('auto'), times(6, 'a'), 0.005)).toEqual([
      'plain',
      'timed',
      'timed',
      ...times(3, 'plain'),
    ]);
  });

  it('does not when one of the two says so', () => {
    const policy = new GraphPolicy('auto');
    policy.next('a');
    policy.next('a');
    policy.timed({ submitSeconds: 0.01, waitSeconds: 0.01 });
    policy.next('a');
    policy.timed({ submitSeconds: 0.01, waitSeconds: 0 });
    expect(policy.next('a')).toBe('plain');
  });

  it('looks again at another kind', () => {
    const policy = new GraphPolicy('auto');
    turns(policy, times(6, 'large'), 0.01);
    expect(turns(policy, times(4, 'small'))).toEqual(['plain', 'timed', 'timed', 'record']);
  });
});
