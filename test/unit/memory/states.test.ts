import { describe, expect, it } from 'vitest';
import { ChunkCopy, parameterTable, stateTable, type Table, transition } from '../../../src/memory/index.ts';

function checkTable<S extends string, E extends string>(name: string, table: Table<S, E>, initial: S): void {
  const states = Object.keys(table) as S[];
  const events = [...new Set(states.flatMap((state) => Object.keys(table[state])))] as E[];

  describe(name, () => {
    it('allows exactly what is written down and names both sides of what is not', () => {
      for (const state of states) {
        for (const event of events) {
          const next = table[state][event];
          if (next !== undefined) expect(transition(table, state, event, 'chunk 3')).toBe(next);
          else
            expect(() => transition(table, state, event, 'chunk 3')).toThrow(
              new RegExp(`chunk 3 is ${state}; ${event} needs`),
            );
        }
      }
    });

    it('reaches every state from the first one and always finds a way back', () => {
      const reach = (from: S): Set<S> => {
        const seen = new Set<S>([from]);
        for (const state of seen)
          for (const next of Object.values<S>(table[state] as Record<string, S>)) seen.add(next);
        return seen;
      };
      expect([...reach(initial)].sort()).toEqual([...states].sort());
      for (const state of states) expect(reach(state).has(initial)).toBe(true);
    });
  });
}

checkTable('parameter chunk', parameterTable, 'absent');
checkTable('state chunk', stateTable, 'absent');

describe('a copy of a chunk', () => {
  it('walks a training step on the GPU', () => {
    const copy = new ChunkCopy(parameterTable, 'chunk 0 on gpu', 'absent');
    const walk = ['fetch', 'arrive', 'pin', 'unpin', 'pin', 'becomeGradient', 'leave', 'left'] as const;
    expect(walk.map((event) => copy.move(event))).toEqual([
      'fetching',
      'resident',
      'inUse',
      'resident',
      'inUse',
      'gradient',
      'leaving',
      'absent',
    ]);
  });

  it('stays where it was when a move is illegal', () => {
    const copy = new ChunkCopy(stateTable, 'state 7', 'resident');
    expect(() => copy.move('written')).toThrow(/state 7 is resident; written needs it to be writing/);
    expect(copy.state).toBe('resident');
  });
});
