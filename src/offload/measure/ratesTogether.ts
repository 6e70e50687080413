import type { TimelineSpan } from '../../native/binding.ts';

/**
 * Bytes per second that reads and writes had while both went on: until the first of them had nothing left, from when on the other was
 * alone. Several tickets are under way at a time, so bytes are taken to flow evenly from one end of a ticket to the next.
 */
export function ratesTogether(
  spans: readonly Pick<TimelineSpan, 'lane' | 'startUs' | 'durationUs' | 'bytes'>[],
): Record<'read' | 'write', number> {
  const start = spans.reduce((least, { startUs }) => Math.min(least, startUs), Number.POSITIVE_INFINITY);
  const ends = (way: 'read' | 'write'): readonly (readonly [number, number])[] =>
    spans
      .filter(({ lane }) => lane === way)
      .map(({ startUs, durationUs, bytes }) => [startUs + durationUs - start, bytes] as const)
      .sort(([a], [b]) => a - b);
  const [read, write] = [ends('read'), ends('write')];
  const until = Math.min(read.at(-1)![0], write.at(-1)![0]);
  const rate = (way: readonly (readonly [number, number])[]): number => {
    let [before, moved] = [0, 0];
    for (const [end, bytes] of way) {
      if (end > until) return (1e6 * (moved + (bytes * (until - before)) / (end - before))) / until;
      [before, moved] = [end, moved + bytes];
    }
    return (1e6 * moved) / until;
  };
  return { read: rate(read), write: rate(write) };
}
