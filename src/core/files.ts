import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { TierraError } from './errors.ts';
import { faultPoint } from './faults.ts';

/** Node refuses single transfers of 2 GiB and more. */
const maxTransferBytes = 2 ** 30;

const advice: Readonly<Record<string, string>> = {
  ENOSPC: 'The disk is full: free some space, or choose an output folder on a larger disk.',
  EDQUOT: 'The disk quota is used up: free some space, or choose another output folder.',
  EFBIG: 'The file grew past a limit: look at `ulimit -f` and at the largest file the file system allows.',
  EIO: 'The disk reports a hardware error: look at the kernel log (`dmesg`) before trusting this disk again.',
  EROFS: 'The file system is mounted read-only: choose another folder.',
  EACCES: 'Check the permissions of the path and of every folder above it.',
  EPERM: 'Check the permissions of the path and of every folder above it.',
  ENOTDIR: 'A part of the path is a file, not a folder: remove it or choose another folder.',
  ENOENT: 'Check the spelling of the path.',
  EMFILE: 'Too many files are open in this process: look at `ulimit -n`.',
};

/** Turns a failure of Node's file functions into `E_IO` that names the action and the path and keeps the cause. */
export function ioError(action: string, path: string, cause: unknown): TierraError {
  const code = (cause as { code?: unknown } | null)?.code;
  const reason = cause instanceof Error ? cause.message : String(cause);
  const hint = typeof code === 'string' ? advice[code] : undefined;
  return new TierraError('E_IO', `${path}: cannot ${action}: ${reason}`, {
    details: { path, action, errno: code },
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Runs `body`; what it throws becomes `E_IO` about `action` on `path`. Errors of our own pass through. */
export function withIo<T>(action: string, path: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw error instanceof TierraError ? error : ioError(action, path, error);
  }
}

/** Reads from `position` until `into` is full or the file ends, continuing short reads; returns the bytes read. */
export function readUpTo(fd: number, into: Uint8Array, position: number, path: string): number {
  let done = 0;
  while (done < into.length) {
    const length = Math.min(into.length - done, maxTransferBytes);
    const got = withIo('read', path, () => {
      faultPoint('file.read');
      return readSync(fd, into, done, length, position + done);
    });
    if (got === 0) break;
    done += got;
  }
  return done;
}

/** Writes all of `bytes` at `position`, continuing short writes; a write without progress is `E_IO`. */
export function writeFully(fd: number, bytes: Uint8Array, position: number, path: string): void {
  let done = 0;
  while (done < bytes.length) {
    const length = Math.min(bytes.length - done, maxTransferBytes);
    const put = withIo(`write ${length} bytes at ${position + done}`, path, () => {
      faultPoint('file.write');
      return writeSync(fd, bytes, done, length, position + done);
    });
    if (put === 0) throw ioError(`write ${length} bytes at ${position + done}`, path, new Error('no progress'));
    done += put;
  }
}

/**
 * Makes a folder and those above it; an existing folder is no error. Not by `mkdirSync`'s `recursive`, which never
 * returns where the kernel answers "no such file" below a folder that exists, as in `/proc` (Node 20).
 */
export function makeFolder(path: string): void {
  withIo('create the folder', path, () => {
    if (!existsSync(dirname(path))) makeFolder(dirname(path));
    try {
      mkdirSync(path);
    } catch (error) {
      if ((error as { code?: string }).code !== 'EEXIST' || !statSync(path).isDirectory()) throw error;
    }
  });
}

/** Flushes a file to the device. A failed flush must never be retried: the kernel may have dropped the pages. */
export function fsyncFile(fd: number, path: string): void {
  withIo('flush to disk', path, () => {
    faultPoint('file.fsync');
    fsyncSync(fd);
  });
}

/** Makes the names inside a folder (new files, renames) durable. */
export function fsyncFolder(path: string): void {
  const fd = withIo('open the folder', path, () => openSync(path, 'r'));
  try {
    fsyncFile(fd, path);
  } finally {
    closeSync(fd);
  }
}
