import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { isTierraError } from '../../core/errors.ts';
import { MiB } from '../../core/units.ts';
import { native } from '../../native/load.ts';
import { measuringFolder, noteLeftovers } from '../leftovers.ts';
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

/**
 * Streams 128 MiB to the disks of the swap folders and back, in folders of its own beside or in them: a run may hold those. Null
 * where that cannot be done now, for want of room or rights.
 */
export function measureDisk(settings: DiskSettings): DiskRates | null {
  const folders: string[] = [];
  try {
    for (const folder of settings.paths) folders.push(measuringFolder(nearestThere(folder)));
    return stream({ ...settings, paths: folders });
  } catch (error) {
    if (isTierraError(error) || (error as NodeJS.ErrnoException).code !== undefined) return null;
    throw error;
  } finally {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  }
}

/** The folder, or the nearest one above it that exists: on the same disk. */
function nearestThere(folder: string): string {
  let at = path.resolve(folder);
  while (!existsSync(at) && at !== path.dirname(at)) at = path.dirname(at);
  return at;
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
