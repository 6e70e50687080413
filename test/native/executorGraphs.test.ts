import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Ticket, TicketId } from '../../src/native/binding.ts';
import { native, nativeIsBuilt } from '../../src/native/load.ts';
import { copy, disk, id, type Stage, withExecutor } from './executorSupport.ts';
import { backends, pattern, readArena } from './swapSupport.ts';

const slotBytes = 64 * 1024;
const slots = 8;
const extents = 5;
/** Room for the payload and its trailer. */
const extentStride = 2 * slotBytes;

/** One random move: between slots of the arena, or between a slot and an extent of the swap. */
interface Move {
  readonly kind: 'read' | 'write' | 'toDevice' | 'toHost';
  readonly a: number;
  readonly b: number;
}

const move: fc.Arbitrary<Move> = fc.record({
  kind: fc.constantFrom('read', 'write', 'toDevice', 'toHost'),
  a: fc.nat(slots - 1),
  b: fc.nat(slots - 1),
});

/** The bytes each move reads and writes, as resource names. */
function touches({ kind, a, b }: Move): { reads: string; writes: string } {
  if (kind === 'read') return { reads: `extent${a % extents}`, writes: `slot${b}` };
  if (kind === 'write') return { reads: `slot${b}`, writes: `extent${a % extents}` };
  return { reads: `slot${a}`, writes: `slot${b}` };
}

/** Tickets for the moves: each waits for exactly the earlier ones that it conflicts with. */
function ticketsFor(moves: readonly Move[], stage: Stage, written: Map<number, number>): Ticket[] {
  return moves.map((now, index) => {
    const mine = touches(now);
    const after: TicketId[] = [];
    for (let j = 0; j < index; j++) {
      const theirs = touches(moves[j]!);
      const conflict = theirs.writes === mine.reads || theirs.writes === mine.writes || theirs.reads === mine.writes;
      if (conflict) after.push(id(j + 1));
    }
    const shared = { after, chunk: now.a, bytes: slotBytes };
    if (now.kind === 'toDevice' || now.kind === 'toHost') {
      return copy(index + 1, stage.arena, now.a * slotBytes, now.b * slotBytes, { ...shared, lane: now.kind });
    }
    const extent = now.a % extents;
    if (now.kind === 'write') written.set(extent, index + 1);
    const place = { swapOffset: extent * extentStride, arenaOffset: now.b * slotBytes, step: written.get(extent)! };
    return disk(index + 1, now.kind, stage.swap, stage.arena, { ...shared, chunk: extent, ...place });
  });
}

describe.skipIf(!nativeIsBuilt()).each(backends)('random graphs through %s', (backend) => {
  it('leave the bytes that doing one after the other leaves', () => {
    withExecutor({ backend, readDepth: 3, writeDepth: 3 }, (stage) => {
      const { arena, swap } = stage;
      fc.assert(
        fc.property(fc.array(move, { minLength: 1, maxLength: 40 }), (moves) => {
          const executor = native().executorCreate({
            device: -1,
            updateThreads: 1,
            scaleCells: 1,
            timelineCapacity: 1000,
          });
          const model = new Map<string, Uint8Array>();
          const written = new Map<number, number>();
          for (let slot = 0; slot < slots; slot++) {
            model.set(`slot${slot}`, pattern(slotBytes, slot));
            native().arenaWrite(arena, slot * slotBytes, pattern(slotBytes, slot));
          }
          for (let extent = 0; extent < extents; extent++) {
            const place = { arena, arenaOffset: extent * slotBytes, bytes: slotBytes, chunk: extent, step: 0 };
            native().swapWrite(swap, { ...place, swapOffset: extent * extentStride });
            model.set(`extent${extent}`, pattern(slotBytes, extent));
            written.set(extent, 0);
          }
          const tickets = ticketsFor(moves, stage, written);
          for (const one of moves) model.set(touches(one).writes, model.get(touches(one).reads)!);
          native().submit(executor, tickets);
          native().drain(executor);
          for (let slot = 0; slot < slots; slot++) {
            const same = Buffer.compare(readArena(arena, slot * slotBytes, slotBytes), model.get(`slot${slot}`)!);
            expect(same, `slot ${slot}`).toBe(0);
          }
          for (let extent = 0; extent < extents; extent++) {
            const place = { arena, arenaOffset: slots * slotBytes, bytes: slotBytes, chunk: extent };
            native().swapRead(swap, { ...place, swapOffset: extent * extentStride, step: written.get(extent)! });
            const same = Buffer.compare(readArena(arena, slots * slotBytes, slotBytes), model.get(`extent${extent}`)!);
            expect(same, `extent ${extent}`).toBe(0);
          }
          expect(
            native()
              .timeline(executor)
              .spans.filter((span) => span.lane !== 'wait').length,
          ).toBe(moves.length);
          native().executorDestroy(executor);
        }),
        { numRuns: 60 },
      );
    });
  });

  it('with the k-th request, copy or update failing: the first failure is kept, dependents never ran', () => {
    for (const site of ['io.read', 'io.write', 'lane.copy']) {
      for (const kind of ['EIO', 'ENOSPC', 'short', 'EINTR', 'EAGAIN']) {
        if (site === 'lane.copy' && kind !== 'EIO') continue;
        withExecutor({ backend }, (stage) => kthFault(stage, site, kind));
      }
    }
  });
});

/** Ten chunks: written from slot 0, read into slot 1, copied to slot 2; a failed one must leave slot 2 untouched. */
function kthFault({ arena, swap }: Stage, site: string, kind: string): void {
  const chunks = 10;
  const area = 3 * slotBytes;
  for (let k = 1; ; k++) {
    const executor = native().executorCreate({ device: -1, updateThreads: 1, scaleCells: 1, timelineCapacity: 1000 });
    native().arenaFill(arena, 0, chunks * area, 0);
    const tickets: Ticket[] = [];
    for (let chunk = 0; chunk < chunks; chunk++) {
      native().arenaWrite(arena, chunk * area, pattern(slotBytes, chunk + k));
      const at = { swapOffset: chunk * extentStride, bytes: slotBytes, chunk, step: k };
      const first = chunk * 3 + 1;
      tickets.push(
        disk(first, 'write', swap, arena, { ...at, arenaOffset: chunk * area }),
        disk(first + 1, 'read', swap, arena, { ...at, arenaOffset: chunk * area + slotBytes, after: [id(first)] }),
        copy(first + 2, arena, chunk * area + slotBytes, chunk * area + 2 * slotBytes, {
          bytes: slotBytes,
          chunk,
          after: [id(first + 1)],
        }),
      );
    }
    native().setFault(`${site}:${kind}@k=${k}`);
    native().submit(executor, tickets);
    let failedChunk = -1;
    try {
      native().drain(executor);
    } catch (error) {
      expect(error).toMatchObject({ code: 'E_IO', details: { errno: kind === 'ENOSPC' ? 28 : 5 } });
      failedChunk = Number((error as { details: { chunk: number } }).details.chunk);
      expect(native().failed(executor)).toMatchObject({ code: 'E_IO' });
    }
    for (let chunk = 0; chunk < chunks; chunk++) {
      const found = readArena(arena, chunk * area + 2 * slotBytes, slotBytes);
      const expected = chunk === failedChunk ? new Uint8Array(slotBytes) : pattern(slotBytes, chunk + k);
      expect(Buffer.compare(found, expected), `${site}:${kind}@k=${k}, chunk ${chunk}`).toBe(0);
    }
    const hits = native().faultHits(site);
    native().setFault(null);
    native().executorDestroy(executor);
    if (hits < k) return;
    expect(k).toBeLessThan(60);
  }
}
