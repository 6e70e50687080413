/** Events of a kind that are kept without a limit; a run with a NaN every step must not fill the disk with words. */
const unlimited = 500;
/** After that, the shortest time between two. */
const spacingMs = 60_000;

/** Lets the first events of each kind through, then one a minute with the number of those left out. */
export class EventLimit {
  readonly #kinds = new Map<string, { passed: number; lastMs: number; omitted: number }>();

  /** How many like it were left out since the last one, or null when this one is left out too. */
  admit(kind: string, nowMs: number): number | null {
    const seen = this.#kinds.get(kind) ?? { passed: 0, lastMs: Number.NEGATIVE_INFINITY, omitted: 0 };
    this.#kinds.set(kind, seen);
    if (seen.passed >= unlimited && nowMs - seen.lastMs < spacingMs) {
      seen.omitted += 1;
      return null;
    }
    const { omitted } = seen;
    seen.passed += 1;
    seen.lastMs = nowMs;
    seen.omitted = 0;
    return omitted;
  }
}
