/** Folders, arenas and swaps for the disk tests. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ArenaId, SwapBackend, SwapId, SwapOptions } from '../../src/native/binding.ts';
import { native } from '../../src/native/load.ts';

export const backends: readonly SwapBackend[] = ['uring', 'threads'];
export const mib = 1024 * 1024;

export interface Bench {
  readonly folder: string;
  readonly arena: ArenaId;
  readonly swap: SwapId;
}

export function swapOptions(folder: string, changes: Partial<SwapOptions> = {}): SwapOptions {
  return {
    paths: [folder],
    bytes: 32 * mib,
    backend: 'auto',
    direct: true,
    checksum: true,
    runId: 'test-run',
    blockBytes: mib,
    readDepth: 8,
    writeDepth: 8,
    ...changes,
  };
}

export function withFolder<T>(body: (folder: string) => T): T {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-swap-test-'));
  try {
    return body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A folder on disk, a host arena of 16 MiB and an open swap; all gone afterwards, faults disarmed. */
export function withSwap<T>(changes: Partial<SwapOptions>, body: (bench: Bench) => T): T {
  return withFolder((folder) => {
    const arena = native().arenaCreate('host', 16 * mib, 0, true);
    const swap = native().swapOpen(swapOptions(folder, changes));
    try {
      return body({ folder, arena, swap });
    } finally {
      native().setFault(null);
      native().swapClose(swap);
      native().arenaDestroy(arena);
    }
  });
}

/** Bytes that differ everywhere and between seeds. */
export function pattern(bytes: number, seed: number): Uint8Array {
  const out = new Uint8Array(bytes);
  let state = (seed * 2654435761 + 12345) >>> 0;
  for (let i = 0; i < bytes; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[i] = state >>> 24;
  }
  return out;
}

export function readArena(arena: ArenaId, offset: number, bytes: number): Uint8Array {
  const out = new Uint8Array(bytes);
  native().arenaRead(arena, offset, out);
  return out;
}

/** The error that `body` throws; fails when it throws none. */
export function thrown(body: () => unknown): unknown {
  try {
    body();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}
