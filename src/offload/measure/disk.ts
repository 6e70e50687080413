import { existsSync, rmSync, statfsSync, statSync } from 'node:fs';
import path from 'node:path';
import { isTierraError } from '../../core/errors.ts';
import type { LinkRate } from '../../memory/index.ts';
import { native } from '../../native/load.ts';
import { measuringFolder, noteLeftovers } from '../leftovers.ts';
import { swapRequests } from '../swapRequests.ts';
import { Bench } from './bench.ts';
import { DiskStreams, mostFilePieces, pieceBytes } from './diskStreams.ts';

export interface DiskRates {
  readonly fromDisk: LinkRate;
  readonly toDisk: LinkRate;
}

export interface DiskSettings {
  readonly paths: readonly string[];
  readonly backend: 'auto' | 'uring' | 'threads';
  readonly direct: boolean;
  readonly verify: boolean;
}

/** Of free disk space: a run that starts meanwhile may need the rest. */
const shareOfRoom = 1 / 8;
const leastFilePieces = 4;

/**
 * Streams from and to the disks of the swap folders, in folders of its own beside or in them: a run may hold those. First both ways at
 * once, as steps do, then each way alone. Takes up to 1 GiB of disk and about three times `seconds`. Null where that cannot be
 * done now, for want of room or rights.
 *
 * Writes into a drive's memory say nothing about the drive. Filling the file goes on for 1 GiB or about `seconds`, whichever comes first, a
 * short stream both ways finds the pace, and what counts follows at once: buffers in DRAM, up to some hundred MiB, are full by then. What cannot be seen in
 * seconds: flash that takes tens of GB quickly (SLC caches) and a host's page cache behind a virtual disk.
 */
export function measureDisk(settings: DiskSettings, seconds: number): DiskRates | null {
  const folders: string[] = [];
  try {
    for (const folder of settings.paths) folders.push(measuringFolder(nearestThere(folder)));
    return stream({ ...settings, paths: folders }, seconds);
  } catch (error) {
    const ours = isTierraError(error) && ['E_ARGUMENT', 'E_INTERNAL'].includes(error.code);
    if (!ours && (isTierraError(error) || (error as NodeJS.ErrnoException).code !== undefined)) return null;
    throw error;
  } finally {
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  }
}

/** What the rates depend on: the file systems, not which folders of them. */
export function diskKey({ paths, backend, direct, verify }: DiskSettings): string {
  const systems = paths.map((folder) => {
    const there = nearestThere(folder);
    const { type, blocks, bsize } = statfsSync(there);
    return [statSync(there).dev, type, blocks * bsize];
  });
  return JSON.stringify([systems, backend, direct, verify]);
}

/** The folder, or the nearest one above it that exists: on the same disk. */
function nearestThere(folder: string): string {
  let at = path.resolve(folder);
  while (!existsSync(at) && at !== path.dirname(at)) at = path.dirname(at);
  return at;
}

function filePieces(paths: readonly string[]): number {
  const room = Math.min(...paths.map((folder) => statfsSync(folder)).map(({ bavail, bsize }) => bavail * bsize));
  const fitting = Math.floor((shareOfRoom * room) / pieceBytes);
  return Math.max(leastFilePieces, Math.min(mostFilePieces, fitting));
}

function stream({ paths, backend, direct, verify }: DiskSettings, seconds: number): DiskRates {
  const pieces = filePieces(paths);
  const bytes = pieces * native().swapExtentBytes(pieceBytes);
  const options = { paths, bytes, backend, direct, checksum: verify, runId: `measure-${process.pid}` };
  const swap = native().swapOpen({ ...options, ...swapRequests });
  noteLeftovers(native().swapInfo(swap).leftovers);
  try {
    const bench = new Bench(-1, 1, DiskStreams.timelineCapacity);
    try {
      const streams = new DiskStreams(bench, swap, pieces);
      const filling = streams.fill(seconds);
      const pace = streams.together((filling * seconds) / 4);
      const both = streams.together((pace.read + pace.write) * seconds);
      const half = ((both.read + both.write) * seconds) / 2;
      const [write, read] = [streams.alone('write', half), streams.alone('read', half)];
      return {
        fromDisk: { alone: read, together: Math.min(read, both.read) },
        toDisk: { alone: write, together: Math.min(write, both.write) },
      };
    } finally {
      bench.dispose();
    }
  } finally {
    native().swapClose(swap);
  }
}
