import { readFileSync, writeFileSync } from 'node:fs';
import { TierraError } from '../core/errors.ts';
import { withIo } from '../core/files.ts';

/**
 * Puts the timelines of several ranks, as `TraceWriter` wrote them, into one file. Each keeps its process number and its
 * times, so ranks must have been given different ones and one clock. Throws `E_IO`, and `E_CORRUPT` for a file that is no timeline.
 */
export function mergeTraces(parts: readonly string[], into: string): void {
  const events = parts.flatMap(readEvents);
  withIo('write', into, () => {
    writeFileSync(into, `[\n${events.map((event) => JSON.stringify(event)).join(',\n')}\n]\n`);
  });
}

function readEvents(path: string): unknown[] {
  const text = withIo('read', path, () => readFileSync(path, 'utf8')).trimEnd();
  // A process that died leaves the array open; what it had written still counts.
  const closed = text.endsWith(']') ? text : `${text.replace(/,$/, '')}]`;
  try {
    const parsed: unknown = JSON.parse(closed);
    if (Array.isArray(parsed)) return parsed;
  } catch (cause) {
    throw new TierraError('E_CORRUPT', `${path}: not a timeline: ${(cause as Error).message}`, { cause });
  }
  throw new TierraError('E_CORRUPT', `${path}: not a timeline: expected an array of events`);
}
