import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { isTierraError, TierraError } from '../../core/errors.ts';
import { faultPoint } from '../../core/faults.ts';
import { fsyncFile, fsyncFolder, ioError, makeFolder, withIo, writeFully } from '../../core/files.ts';
import { formatBytes, MiB } from '../../core/units.ts';
import type { WrittenFile } from '../../tensor/safetensors/index.ts';
import type { CheckpointFileWriter } from './content.ts';
import {
  checkInnerPath,
  checkManifestFields,
  createdBy,
  encodeManifest,
  type ManifestFields,
  type ManifestFile,
  manifestFormat,
  manifestName,
} from './manifest.ts';
import { checkpointsFolder, currentRunId, stepName, workName } from './names.ts';
import { checkPolicy, type KeepPolicy, pruneCheckpoints, removeCheckpoint } from './prune.ts';
import { manifestVersion } from './upgrades.ts';
import { stateOf, verifyCheckpoint } from './verify.ts';

export interface CheckpointContent {
  readonly manifestFields: ManifestFields;
  readonly files: readonly CheckpointFileWriter[];
}

export interface WriteOptions {
  readonly runId?: string;
  /** Runs after all files are on disk and before the manifest: where several ranks agree. Throwing abandons the save. */
  readonly beforeManifest?: () => Promise<void>;
}

export interface WrittenCheckpoint {
  readonly path: string;
  readonly bytes: number;
  readonly pruned: readonly string[];
  /** Trouble after the checkpoint was safe, such as an old one that could not be removed. */
  readonly warnings: readonly string[];
}

/**
 * Saves one checkpoint as `<output>/checkpoints/step-N`, then prunes. Until the one `rename` that gives it its name
 * nothing of it can be found; a failure at any point leaves earlier checkpoints untouched and removes what was begun.
 *
 * Order: files, flushed one by one; manifest, flushed; folders, flushed; rename; parent folder, flushed; prune.
 * Throws `E_IO` (no space, with the numbers; not writable; disk errors), `E_CHECKPOINT` when a sound checkpoint of that
 * step exists. A damaged one of that step is replaced.
 */
export async function writeCheckpoint(
  output: string,
  step: number,
  content: CheckpointContent,
  policy: KeepPolicy,
  options: WriteOptions = {},
): Promise<WrittenCheckpoint> {
  checkPolicy(policy);
  checkManifestFields(content.manifestFields);
  const runId = options.runId ?? currentRunId();
  const folder = checkpointsFolder(resolve(output));
  const path = join(folder, stepName(step));
  const temporary = join(folder, workName({ step, kind: 'tmp', runId }));
  let bytes = 0;
  try {
    faultPoint('checkpoint.K1');
    makeHome(folder);
    checkSpace(folder, content.files);
    await clearDamaged(output, path, step, runId);
    withIo('clear', temporary, () => rmSync(temporary, { recursive: true, force: true }));
    withIo('create the folder', temporary, () => mkdirSync(temporary));
    const files = await writeFiles(temporary, content.files);
    faultPoint('checkpoint.K3');
    await options.beforeManifest?.();
    faultPoint('checkpoint.K4');
    bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    writeManifest(temporary, step, content.manifestFields, files);
    for (const each of foldersOf(files)) fsyncFolder(join(temporary, each));
    faultPoint('checkpoint.K6');
    withIo('rename', temporary, () => renameSync(temporary, path));
  } catch (error) {
    discard(temporary);
    throw notWritten(output, step, error);
  }
  faultPoint('checkpoint.K7');
  fsyncFolder(folder);
  try {
    return { path, bytes, pruned: await pruneCheckpoints(output, policy, { trustedStep: step, runId }), warnings: [] };
  } catch (error) {
    if (!isTierraError(error)) throw error;
    return { path, bytes, pruned: [], warnings: [`the checkpoint is saved, but pruning failed: ${error.message}`] };
  }
}

/** The failure that led here is the one to report; what cannot be removed now is a leftover for the next start. */
function discard(temporary: string): void {
  try {
    rmSync(temporary, { recursive: true, force: true });
  } catch {}
}

function makeHome(folder: string): void {
  const output = dirname(folder);
  if (existsSync(folder)) return;
  makeFolder(folder);
  fsyncFolder(output);
  fsyncFolder(dirname(output));
}

function checkSpace(folder: string, files: readonly CheckpointFileWriter[]): void {
  const need = files.reduce((sum, file) => sum + file.bytes, MiB);
  const { bavail, bsize } = withIo('ask for the free space', folder, () => statfsSync(folder));
  const have = bavail * bsize;
  if (need <= have) return;
  const shortage = `needs ${formatBytes(need)}, but ${formatBytes(have)} are free`;
  throw new TierraError('E_IO', `${folder}: the checkpoint ${shortage}`, {
    hint: `Free ${formatBytes(need - have)}, keep fewer checkpoints (keepLast), or choose an output folder on a larger disk.`,
    details: { need, have },
  });
}

async function clearDamaged(output: string, path: string, step: number, runId: string): Promise<void> {
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

async function writeFiles(root: string, writers: readonly CheckpointFileWriter[]): Promise<ManifestFile[]> {
  const files: ManifestFile[] = [];
  for (const writer of writers) files.push(...(await writer.write(root)).map((file) => inner(root, file)));
  return files;
}

function inner(root: string, { path, bytes, sha256 }: WrittenFile): ManifestFile {
  const inside = relative(root, path).replaceAll(sep, '/');
  checkInnerPath(inside);
  return { path: inside, bytes, sha256 };
}

function writeManifest(root: string, step: number, fields: ManifestFields, files: readonly ManifestFile[]): void {
  const head = { format: manifestFormat, version: manifestVersion, step, createdBy: createdBy() } as const;
  const text = Buffer.from(encodeManifest({ ...head, ...fields, files }));
  const path = join(root, manifestName);
  const fd = withIo('create', path, () => openSync(path, 'wx'));
  try {
    const half = text.length >> 1;
    writeFully(fd, text.subarray(0, half), 0, path);
    faultPoint('checkpoint.K5');
    writeFully(fd, text.subarray(half), half, path);
    fsyncFile(fd, path);
  } finally {
    closeSync(fd);
  }
}

/** Every folder that holds a file or a folder of the checkpoint, its root included. */
function foldersOf(files: readonly ManifestFile[]): Set<string> {
  const folders = new Set<string>(['.']);
  for (const { path } of files) {
    for (let each = dirname(path); each !== '.'; each = dirname(each)) folders.add(each);
  }
  return folders;
}

function notWritten(output: string, step: number, error: unknown): unknown {
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
