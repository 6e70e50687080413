import { existsSync, rmdirSync } from 'node:fs';
import { isTierraError } from '../../core/errors.ts';
import { MiB } from '../../core/units.ts';
import { native } from '../../native/load.ts';
import { noteLeftovers } from '../leftovers.ts';
import { Bench, type PlainTicket } from './bench.ts';

export interface DiskRates {
  readonly readBytes: number;
  readonly writeBytes: number;
}

export interface DiskSettings {
  readonly paths: readonly string[];
  readonly backend: 'auto' | 'uring' | 'threads';
  readonly direct: boolean;
  readonly verify: boolean;
}

const pieceBytes = 16 * MiB;
const pieces = 8;

/** Streams 128 MiB to the swap folders and back. Null where they cannot be used now: another run holds them, or no room. */
export function measureDisk(settings: DiskSettings): DiskRates | null {
  const missing = settings.paths.filter((folder) => !existsSync(folder));
  try {
    return stream(settings);
  } catch (error) {
    if (isTierraError(error)) return null;
    throw error;
  } finally {
    // A question must leave nothing behind.
    for (const folder of missing) removeEmpty(folder);
  }
}

function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Not empty or not there: it is not ours.
  }
}

function stream({ paths, backend, direct, verify }: DiskSettings): DiskRates {
  const extent = native().swapExtentBytes(pieceBytes);
  const options = { paths, bytes: pieces * extent, backend, direct, checksum: verify, runId: `measure-${process.pid}` };
  const swap = native().swapOpen({ ...options, blockBytes: 4 * MiB, readDepth: 8, writeDepth: 8 });
  noteLeftovers(native().swapInfo(swap).leftovers);
  try {
    const bench = new Bench(-1, 1);
    try {
      const arena = bench.arena('host', pieces * pieceBytes, -1);
      const tickets = (lane: 'read' | 'write'): PlainTicket[] =>
        Array.from({ length: pieces }, (_, piece) => ({
          lane,
          chunk: piece,
          swap,
          swapOffset: piece * extent,
          arena,
          arenaOffset: piece * pieceBytes,
          bytes: pieceBytes,
        }));
      const bytes = pieces * pieceBytes;
      // The first pass makes the file's blocks: slower than every later one.
      bench.run(tickets('write'));
      const [write, read] = [tickets('write'), tickets('read')];
      return { writeBytes: bytes / bench.run(write), readBytes: bytes / bench.run(read) };
    } finally {
      bench.dispose();
    }
  } finally {
    native().swapClose(swap);
  }
}
