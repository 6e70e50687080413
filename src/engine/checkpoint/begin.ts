/** The first half of a save: room, and a folder to write into that nobody takes for a checkpoint. */
import { existsSync, mkdirSync, rmSync, statfsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { isTierraError, TierraError } from '../../core/errors.ts';
import { faultPoint } from '../../core/faults.ts';
import { fsyncFolder, ioError, makeFolder, withIo } from '../../core/files.ts';
import { formatBytes, MiB } from '../../core/units.ts';
import { checkpointsFolder, stepName, workName } from './names.ts';
import { removeCheckpoint } from './prune.ts';
import { stateOf, verifyCheckpoint } from './verify.ts';

/** A save that has begun. */
export interface BegunCheckpoint {
  readonly output: string;
  readonly step: number;
  readonly runId: string;
  /** The folder above all checkpoints. */
  readonly folder: string;
  /** Where files are written until the commit. */
  readonly temporary: string;
  /** The name that the commit gives it. */
  readonly path: string;
}

/** The names of a save, without touching the disk: the same for every writer of one run. */
export function checkpointPlaces(output: string, step: number, runId: string): BegunCheckpoint {
  const folder = checkpointsFolder(resolve(output));
  const temporary = join(folder, workName({ step, kind: 'tmp', runId }));
  return { output, step, runId, folder, temporary, path: join(folder, stepName(step)) };
}

/**
 * Makes the folder to write into, after checking that there is room for `needBytes`. Throws `E_IO` (no space, with the
 * numbers; not writable) and `E_CHECKPOINT` when a sound checkpoint of that step exists. A damaged one of that step is removed.
 */
export async function beginCheckpoint(places: BegunCheckpoint, needBytes: number): Promise<void> {
  const { folder, temporary } = places;
  faultPoint('checkpoint.K1');
  makeHome(folder);
  checkSpace(folder, needBytes);
  await clearDamaged(places);
  withIo('clear', temporary, () => rmSync(temporary, { recursive: true, force: true }));
  withIo('create the folder', temporary, () => mkdirSync(temporary));
  faultPoint('checkpoint.created');
}

/** The failure that led here is the one to report; what cannot be removed now is a leftover for the next start. */
export function discardCheckpoint({ temporary }: BegunCheckpoint): void {
  try {
    rmSync(temporary, { recursive: true, force: true });
  } catch {}
}

/** The error as a person meets it: which checkpoint was not written, and why. Errors that are not ours stay as they are. */
export function notWritten({ output, step }: { output: string; step: number }, error: unknown): unknown {
  const inner = isTierraError(error) ? error : isErrno(error) ? ioError('save', output, error) : undefined;
  if (inner === undefined) return error;
  return new TierraError(inner.code, `the checkpoint of step ${step} was not written: ${inner.message}`, {
    ...(inner.hint === undefined ? {} : { hint: inner.hint }),
    details: { ...inner.details, step, output },
    cause: error,
  });
}

function isErrno(error: unknown): boolean {
  return error instanceof Error && 'code' in error && 'syscall' in error;
}

function makeHome(folder: string): void {
  const output = dirname(folder);
  if (existsSync(folder)) return;
  makeFolder(folder);
  fsyncFolder(output);
  fsyncFolder(dirname(output));
}

function checkSpace(folder: string, needBytes: number): void {
  const need = needBytes + MiB;
  const { bavail, bsize } = withIo('ask for the free space', folder, () => statfsSync(folder));
  const have = bavail * bsize;
  if (need <= have) return;
  const shortage = `needs ${formatBytes(need)}, but ${formatBytes(have)} are free`;
  throw new TierraError('E_IO', `${folder}: the checkpoint ${shortage}`, {
    hint: `Free ${formatBytes(need - have)}, keep fewer checkpoints (keepLast), or choose an output folder on a larger disk.`,
    details: { need, have },
  });
}

async function clearDamaged({ output, path, step, runId }: BegunCheckpoint): Promise<void> {
  if (!existsSync(path)) return;
  try {
    await verifyCheckpoint(path);
  } catch (error) {
    const { state } = stateOf(error);
    if (state === 'incomplete' || state === 'corrupt') return removeCheckpoint(resolve(output), path, step, runId);
    throw error;
  }
  throw new TierraError('E_CHECKPOINT', `${path}: there is a sound checkpoint of step ${step} already`, {
    hint: 'Resume from it, or give the new run another output folder.',
    details: { path, step },
  });
}
