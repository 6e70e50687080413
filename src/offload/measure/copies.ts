import { MiB } from '../../core/units.ts';
import type { LinkRate } from '../../memory/index.ts';
import type { ArenaId } from '../../native/binding.ts';
import { Bench, leastOf, type PlainTicket } from './bench.ts';

export interface CopyRates {
  readonly toDevice: LinkRate;
  readonly toHost: LinkRate;
  /** Fixed cost of one ticket, in seconds. */
  readonly latencySeconds: number;
}

const pieceBytes = 4 * MiB;

/**
 * Copies between arenas, each direction alone and both at once. `device` is -1 where RAM plays the GPU: then they go through
 * `ramBytes` in all, more than the caches hold. A link is slower than either.
 */
export function measureCopies(device: number, ramBytes: number): CopyRates {
  const bench = new Bench(device, 1);
  try {
    const pieces = Math.max(6, device < 0 ? Math.ceil(ramBytes / (4 * pieceBytes)) : 0);
    const gpu = bench.arena('device', 2 * pieces * pieceBytes, device);
    const host = bench.arena('host', 2 * pieces * pieceBytes, device);
    const up = copies('toDevice', host, gpu, 0, pieces);
    const down = copies('toHost', gpu, host, pieces * pieceBytes, pieces);
    const bytes = pieces * pieceBytes;
    const rate = (tickets: readonly PlainTicket[]): number => bytes / leastOf(3, () => bench.run(tickets));
    const both = rate([...up, ...down]);
    const [upAlone, downAlone] = [rate(up), rate(down)];
    const small = Array.from({ length: 64 }, () => ({ ...up[0]!, bytes: 4096 }) as PlainTicket);
    const latencySeconds = leastOf(3, () => bench.run(small)) / small.length;
    return {
      toDevice: { alone: upAlone, together: Math.min(upAlone, both) },
      toHost: { alone: downAlone, together: Math.min(downAlone, both) },
      latencySeconds,
    };
  } finally {
    bench.dispose();
  }
}

function copies(
  lane: 'toDevice' | 'toHost',
  source: ArenaId,
  target: ArenaId,
  base: number,
  pieces: number,
): PlainTicket[] {
  return Array.from({ length: pieces }, (_, piece) => {
    const offset = base + piece * pieceBytes;
    return { lane, chunk: piece, source, sourceOffset: offset, target, targetOffset: offset, bytes: pieceBytes };
  });
}
