import { check, TierraError } from '../core/errors.ts';
import { formatBytes } from '../core/units.ts';
import { type PerTier, type Tier, tiers } from './types.ts';

/** The configuration key behind each tier's budget. */
export const budgetSetting: PerTier<string> = { gpu: 'memory.gpu', host: 'memory.cpu', nvme: 'memory.nvme.size' };

/** Exact byte counts of one tier, by purpose: asked before anything is taken, never after. */
export class TierLedger {
  readonly tier: Tier;
  readonly budgetBytes: number;
  readonly #byPurpose = new Map<string, number>();
  #usedBytes = 0;
  #peakBytes = 0;

  constructor(tier: Tier, budgetBytes: number) {
    check(
      Number.isSafeInteger(budgetBytes) && budgetBytes >= 0,
      `${tier} budget must be a whole number of bytes, got ${budgetBytes}`,
    );
    this.tier = tier;
    this.budgetBytes = budgetBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** High-water mark since creation or `resetPeak`. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  get freeBytes(): number {
    return this.budgetBytes - this.#usedBytes;
  }

  /** Bytes held for `purpose` now. */
  held(purpose: string): number {
    return this.#byPurpose.get(purpose) ?? 0;
  }

  /** Throws `E_OUT_OF_MEMORY`, before counting anything, when `bytes` do not fit. */
  take(bytes: number, purpose: string): void {
    check(Number.isSafeInteger(bytes) && bytes >= 0, `${this.tier}: cannot take ${bytes} bytes for ${purpose}`);
    if (bytes > this.freeBytes) {
      const need = this.#usedBytes + bytes;
      throw new TierraError(
        'E_OUT_OF_MEMORY',
        `${this.tier}: ${purpose} needs ${formatBytes(bytes)}, ${formatBytes(this.freeBytes)} of the budget of ${formatBytes(this.budgetBytes)} are free`,
        {
          hint: `Set ${budgetSetting[this.tier]} to at least ${Math.ceil(need / 2 ** 20)}MiB.`,
          details: {
            tier: this.tier,
            purpose,
            needBytes: bytes,
            freeBytes: this.freeBytes,
            budgetBytes: this.budgetBytes,
            fittingBytes: need,
          },
        },
      );
    }
    this.#usedBytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#usedBytes);
    this.#byPurpose.set(purpose, this.held(purpose) + bytes);
  }

  /** Throws `E_INTERNAL` when more is given back than was taken. */
  give(bytes: number, purpose: string): void {
    const held = this.held(purpose);
    if (bytes > held) {
      throw new TierraError('E_INTERNAL', `${this.tier}: ${purpose} gives back ${bytes} bytes and holds ${held}`);
    }
    this.#usedBytes -= bytes;
    if (held === bytes) this.#byPurpose.delete(purpose);
    else this.#byPurpose.set(purpose, held - bytes);
  }

  resetPeak(): void {
    this.#peakBytes = this.#usedBytes;
  }

  /** Bytes by purpose, largest first. */
  report(): readonly (readonly [purpose: string, bytes: number])[] {
    return [...this.#byPurpose].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  }
}

/** One ledger per tier. */
export function openLedgers(budgets: PerTier): PerTier<TierLedger> {
  const [gpu, host, nvme] = tiers.map((tier) => new TierLedger(tier, budgets[tier])) as [
    TierLedger,
    TierLedger,
    TierLedger,
  ];
  return { gpu, host, nvme };
}
