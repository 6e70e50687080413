import type { TicketId } from '../../native/binding.ts';

interface Pending {
  readonly offset: number;
  readonly end: number;
  readonly users: readonly TicketId[];
}

/** Ranges that were given back while tickets still use them: whoever takes one next waits for those. */
export class PendingRanges {
  #ranges: Pending[] = [];

  give(offset: number, bytes: number, users: readonly TicketId[]): void {
    this.#ranges.push({ offset, end: offset + bytes, users });
  }

  /** The tickets to wait for, ascending. */
  take(offset: number, bytes: number): TicketId[] {
    const end = offset + bytes;
    const met = this.#ranges.filter((range) => range.offset < end && offset < range.end);
    // What lies inside belongs to the new owner from now on; the rest still has its users.
    this.#ranges = this.#ranges.filter((range) => range.offset < offset || range.end > end);
    return [...new Set(met.flatMap(({ users }) => users))].sort((a, b) => a - b);
  }

  clear(): void {
    this.#ranges = [];
  }
}
