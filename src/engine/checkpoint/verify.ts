import { createHash } from 'node:crypto';
import { closeSync, lstatSync, openSync, readdirSync, realpathSync } from 'node:fs';
import { basename, join, relative, sep } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { type ErrorCode, isTierraError, TierraError } from '../../core/errors.ts';
import { faultPoint } from '../../core/faults.ts';
import { readUpTo, withIo } from '../../core/files.ts';
import { MiB } from '../../core/units.ts';
import { type Manifest, type ManifestFile, manifestName, readManifest } from './manifest.ts';
import { parseStepName } from './names.ts';

const pieceBytes = 4 * MiB;

/**
 * - `complete`: the manifest is sound and every file is there in its size (or, after `verifyCheckpoint`, in its bytes)
 * - `incomplete`: no manifest, or a file is missing
 * - `corrupt`: something is there, but is not what was written
 * - `unsupported`: written by a newer Tierra
 * - `unreadable`: the disk or the permissions refuse
 */
export type CheckpointState = 'complete' | 'incomplete' | 'corrupt' | 'unsupported' | 'unreadable';

const states: Readonly<Partial<Record<ErrorCode, CheckpointState>>> = {
  E_CHECKPOINT: 'incomplete',
  E_CORRUPT: 'corrupt',
  E_UNSUPPORTED: 'unsupported',
  E_IO: 'unreadable',
};

/** The state that an error of `readManifest` or `verifyCheckpoint` stands for; other errors are thrown on. */
export function stateOf(error: unknown): { state: CheckpointState; reason: string } {
  const state = isTierraError(error) ? states[error.code] : undefined;
  if (state === undefined) throw error;
  return { state, reason: (error as TierraError).message };
}

export interface VerifiedCheckpoint {
  readonly path: string;
  readonly step: number;
  readonly manifest: Manifest;
  /** Things that do no harm, such as files the manifest does not know. */
  readonly warnings: readonly string[];
}

/**
 * Reads every byte of a checkpoint and compares it with the manifest. Writes nothing. Throws `E_CHECKPOINT` when
 * something is missing, `E_CORRUPT` when something differs, `E_UNSUPPORTED` for a newer format, `E_IO` when unreadable.
 */
export async function verifyCheckpoint(folder: string): Promise<VerifiedCheckpoint> {
  const manifest = checkSizes(folder);
  for (const file of manifest.files) {
    faultPoint('checkpoint.verify');
    await checkBytes(folder, file);
  }
  return { path: folder, step: manifest.step, manifest, warnings: findExtras(folder, manifest) };
}

/** The cheap half of verification: the manifest itself, and the presence, kind and size of every file. */
export function checkSizes(folder: string): Manifest {
  const manifest = readManifest(folder);
  const named = parseStepName(basename(folder));
  if (named !== undefined && named !== manifest.step) {
    throw damaged(folder, `its manifest is of step ${manifest.step}: the folder was renamed or mixed up`);
  }
  const root = withIo('resolve', folder, () => realpathSync(folder));
  for (const { path, bytes } of manifest.files) {
    const full = join(folder, path);
    const stat = lstatSync(full, { throwIfNoEntry: false });
    if (stat === undefined) {
      throw new TierraError('E_CHECKPOINT', `${folder}: the file ${path} (${bytes} bytes) is missing`, {
        hint: 'The checkpoint was copied or deleted in part: use another one, or copy it again.',
        details: { path: full },
      });
    }
    if (!stat.isFile() || realpathSync(full) !== join(root, path)) {
      throw damaged(folder, `${path} is not a regular file inside the checkpoint`);
    }
    if (stat.size !== bytes) throw damaged(folder, `${path} has ${stat.size} bytes, the manifest says ${bytes}`);
  }
  return manifest;
}

async function checkBytes(folder: string, { path, bytes, sha256 }: ManifestFile): Promise<void> {
  const full = join(folder, path);
  const fd = withIo('open', full, () => openSync(full, 'r'));
  try {
    const hash = createHash('sha256');
    const buffer = new Uint8Array(Math.min(pieceBytes, bytes));
    for (let at = 0; at < bytes; at += pieceBytes) {
      const piece = buffer.subarray(0, Math.min(pieceBytes, bytes - at));
      const got = readUpTo(fd, piece, at, full);
      if (got < piece.length) throw damaged(folder, `${path} ends at ${at + got} of ${bytes} bytes`);
      hash.update(piece);
      await setImmediate();
    }
    const actual = hash.digest('hex');
    if (actual !== sha256) throw damaged(folder, `${path} has checksum ${actual}, the manifest says ${sha256}`);
  } finally {
    closeSync(fd);
  }
}

function findExtras(folder: string, manifest: Manifest): string[] {
  const known = new Set([manifestName, ...manifest.files.map((file) => file.path)]);
  const found = withIo('list', folder, () => readdirSync(folder, { recursive: true, withFileTypes: true }));
  return found
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll(sep, '/'))
    .filter((path) => !known.has(path))
    .map((path) => `${folder}: the file ${path} is not part of the checkpoint; it is ignored`);
}

function damaged(folder: string, reason: string): TierraError {
  return new TierraError('E_CORRUPT', `${folder}: ${reason}`, {
    hint: 'Use another checkpoint of the run, or restore this one from a copy.',
    details: { path: folder },
  });
}
