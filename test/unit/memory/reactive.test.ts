import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chunkId, ReactiveScheduler, type Slot, slotId } from '../../../src/memory/index.ts';

const slots = (...bytes: number[]): Slot[] =>
  bytes.map((size, index) => ({ id: slotId(index), tier: 'gpu', offset: 0, bytes: size, label: `pool ${index}` }));
const ids = (...chunks: number[]) => chunks.map(chunkId);

describe('reactive scheduler', () => {
  it('drops the least recently used, waits for a gradient when nothing else is left, and refuses what cannot be', () => {
    const scheduler = new ReactiveScheduler({ slots: slots(10, 10), parameterBytes: [10, 10, 10, 10] });
    expect(scheduler.need(ids(0)).map((action) => action.kind)).toEqual(['fetch']);
    scheduler.arrived(chunkId(0));
    scheduler.release(ids(0));
    scheduler.need(ids(1));
    scheduler.arrived(chunkId(1));
    scheduler.release(ids(1));
    expect(scheduler.need(ids(0))).toEqual([]);
    scheduler.release(ids(0));
    expect(scheduler.need(ids(2))).toEqual([
      { kind: 'drop', chunk: 1, slot: 1 },
      { kind: 'fetch', chunk: 2, slot: 1 },
    ]);
    scheduler.arrived(chunkId(2));
    scheduler.becomeGradient(chunkId(2));
    scheduler.need(ids(0));
    scheduler.becomeGradient(chunkId(0));
    expect(scheduler.need(ids(3)).map((action) => action.kind)).toEqual(['await', 'fetch']);
    expect(() => scheduler.need(ids(0, 1, 2))).toThrow(/no slot for chunk/);
  });

  it('never has two chunks in a slot, whatever is asked', () => {
    const requests = fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 3 }), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(requests, fc.array(fc.boolean(), { minLength: 60, maxLength: 60 }), (units, backward) => {
        const scheduler = new ReactiveScheduler({
          slots: slots(20, 10, 10, 20),
          parameterBytes: [9, 10, 8, 10, 20, 10, 15, 10],
        });
        const held = new Map<number, number>();
        units.forEach((unit, turn) => {
          if (unit.filter((chunk) => chunk === 4 || chunk === 6).length > 1 && unit.length > 2) return;
          for (const action of scheduler.need(ids(...unit))) {
            if (action.kind === 'fetch') {
              expect([...held.values()]).not.toContain(action.slot);
              held.set(action.chunk, action.slot);
              scheduler.arrived(action.chunk);
            } else {
              expect(held.get(action.chunk)).toBe(action.slot);
              held.delete(action.chunk);
            }
          }
          for (const chunk of unit)
            expect([held.get(chunk), scheduler.state(chunkId(chunk))]).toEqual([
              scheduler.slot(chunkId(chunk)),
              'inUse',
            ]);
          if (backward[turn]) for (const chunk of unit) scheduler.becomeGradient(chunkId(chunk));
          if (backward[turn]) for (const chunk of unit) scheduler.gradientLeft(chunkId(chunk));
          if (backward[turn]) for (const chunk of unit) held.delete(chunk);
          scheduler.release(ids(...unit));
        });
      }),
    );
  });
});
