import { createHash } from 'node:crypto';
import { type BigIntStats, closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { TierraError } from '../core/errors.ts';
import type { FileHashes } from './fileHashes.ts';

const readBytes = 1 << 20;

/** A data file as it was when it was hashed. */
export interface CorpusFile {
  readonly path: string;
  /** Bytes used: the file's size, or less for the last file under a byte cap. */
  readonly bytes: number;
  /** True when a byte cap left out the rest of the file, perhaps in the middle of a line or a character. */
  readonly cut: boolean;
  /** SHA-256 of those bytes. */
  readonly sha256: string;
  /** Tells whether the file was written to since. */
  readonly stamp: string;
}

/** Reads the first `bytes` of a file piece by piece; each piece is good until the next. @throws E_IO, E_DATA */
export function* readPieces(file: string, bytes: number): Generator<Buffer, void, undefined> {
  const descriptor = openData(file);
  try {
    const buffer = Buffer.allocUnsafe(Math.max(1, Math.min(readBytes, bytes)));
    for (let at = 0; at < bytes; ) {
      const got = readSync(descriptor, buffer, 0, Math.min(buffer.length, bytes - at), at);
      if (got === 0) throw changed(file, `it ended at byte ${at} of ${bytes}`);
      at += got;
      yield buffer.subarray(0, got);
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Hashes files in order until `maxBytes` are reached; the file that crosses the cap is used up to it. */
export async function hashFiles(
  files: readonly string[],
  maxBytes: number,
  known: FileHashes | null = null,
): Promise<CorpusFile[]> {
  const hashed: CorpusFile[] = [];
  let left = maxBytes;
  for (const file of files) {
    if (left <= 0) break;
    const { size, stamp, changedMs } = stampOf(file);
    const bytes = Math.min(size, left);
    left -= bytes;
    let sha256 = known?.get(file, stamp, bytes);
    if (sha256 === undefined) {
      sha256 = await hashPieces(file, bytes);
      known?.set(file, { stamp, bytes, sha256 }, changedMs);
    }
    hashed.push({ path: file, bytes, cut: bytes < size, sha256, stamp });
  }
  known?.save();
  return hashed;
}

/** Lets other work in between on large files. */
async function hashPieces(file: string, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  let sinceTurn = 0;
  for (const piece of readPieces(file, bytes)) {
    hash.update(piece);
    sinceTurn += piece.length;
    if (sinceTurn < 64 * readBytes) continue;
    sinceTurn = 0;
    await nextTurn();
  }
  return hash.digest('hex');
}

/** Throws `E_DATA` when a file was written to since it was hashed. */
export function checkUnchanged(files: readonly CorpusFile[]): void {
  for (const file of files) {
    if (stampOf(file.path).stamp !== file.stamp) throw changed(file.path, 'its size or time changed');
  }
}

function stampOf(file: string): { readonly size: number; readonly stamp: string; readonly changedMs: number } {
  const descriptor = openData(file);
  try {
    const stat: BigIntStats = fstatSync(descriptor, { bigint: true });
    const changedMs = Math.max(Number(stat.mtimeMs), Number(stat.ctimeMs));
    return {
      size: Number(stat.size),
      stamp: `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`,
      changedMs,
    };
  } finally {
    closeSync(descriptor);
  }
}

function openData(file: string): number {
  try {
    return openSync(file, 'r');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new TierraError('E_IO', `data files: cannot open ${file} (${code})`, {
      hint:
        code === 'ENOENT'
          ? 'It was there when the files were listed.'
          : 'Check the permissions of the file and its folders.',
      cause: error,
    });
  }
}

function changed(file: string, why: string): TierraError {
  return new TierraError('E_DATA', `${file} changed while it was being tokenized: ${why}`, {
    hint: 'Start again once nothing writes to the data files.',
  });
}
