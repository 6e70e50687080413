import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isTierraError } from '../../../src/core/errors.ts';
import { TierLedger } from '../../../src/memory/index.ts';

describe('tier ledger', () => {
  it('refuses before counting and says what would fit', () => {
    const ledger = new TierLedger('host', 1000);
    ledger.take(600, 'states');
    try {
      ledger.take(500, 'staging');
      expect.unreachable();
    } catch (error) {
      if (!isTierraError(error, 'E_OUT_OF_MEMORY')) throw error;
      expect(error.message).toBe('host: staging needs 500 B, 400 B of the budget of 1000 B are free');
      expect(error.hint).toContain('memory.cpu');
      expect(error.details).toMatchObject({ fittingBytes: 1100 });
    }
    expect(ledger.usedBytes).toBe(600);
  });

  it('counts exactly, whatever the order, and never above its budget', () => {
    const operations = fc.array(
      fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.integer({ min: 0, max: 400 }), fc.boolean()),
    );
    fc.assert(
      fc.property(operations, (list) => {
        const ledger = new TierLedger('gpu', 1000);
        const held = new Map<string, number>();
        let peak = 0;
        for (const [purpose, bytes, giving] of list) {
          const before = held.get(purpose) ?? 0;
          const used = [...held.values()].reduce((sum, value) => sum + value, 0);
          const legal = giving ? bytes <= before : used + bytes <= 1000;
          const act = (): void => (giving ? ledger.give(bytes, purpose) : ledger.take(bytes, purpose));
          if (legal) act();
          else expect(act).toThrow();
          if (legal) held.set(purpose, before + (giving ? -bytes : bytes));
          const now = [...held.values()].reduce((sum, value) => sum + value, 0);
          peak = Math.max(peak, now);
          expect([ledger.usedBytes, ledger.peakBytes, ledger.held(purpose)]).toEqual([
            now,
            peak,
            held.get(purpose) ?? 0,
          ]);
        }
      }),
    );
  });
});
