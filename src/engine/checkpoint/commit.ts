/** The second half of a save: from files on disk to a checkpoint with a name. */
import { closeSync, openSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isTierraError } from '../../core/errors.ts';
import { faultPoint } from '../../core/faults.ts';
import { fsyncFile, fsyncFolder, withIo, writeFully } from '../../core/files.ts';
import { type BegunCheckpoint, discardCheckpoint, notWritten } from './begin.ts';
import {
  createdBy,
  encodeManifest,
  type ManifestFields,
  type ManifestFile,
  manifestFormat,
  manifestName,
} from './manifest.ts';
import { type KeepPolicy, pruneCheckpoints } from './prune.ts';
import { manifestVersion } from './upgrades.ts';

export interface WrittenCheckpoint {
  readonly path: string;
  readonly bytes: number;
  readonly pruned: readonly string[];
  /** Trouble after the checkpoint was safe, such as an old one that could not be removed. */
  readonly warnings: readonly string[];
}

/** Plain data, so that it can be handed to another thread. */
export interface Commit {
  readonly places: BegunCheckpoint;
  readonly fields: ManifestFields;
  /** Every file that was written, flushed. */
  readonly files: readonly ManifestFile[];
  readonly writers: number;
  readonly policy: KeepPolicy;
}

/**
 * Manifest, flushed; folders, flushed; rename; parent folder, flushed; prune. Until the rename a failure removes what was
 * begun and leaves earlier checkpoints untouched.
 */
export async function commitCheckpoint({ places, fields, files, writers, policy }: Commit): Promise<WrittenCheckpoint> {
  const { folder, temporary, path, step, output, runId } = places;
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  try {
    writeManifest(temporary, step, writers, fields, files);
    for (const each of foldersOf(files)) fsyncFolder(join(temporary, each));
    faultPoint('checkpoint.K6');
    withIo('rename', temporary, () => renameSync(temporary, path));
  } catch (error) {
    discardCheckpoint(places);
    throw notWritten(places, error);
  }
  faultPoint('checkpoint.K7');
  fsyncFolder(folder);
  faultPoint('checkpoint.parentFlushed');
  try {
    return { path, bytes, pruned: await pruneCheckpoints(output, policy, { trustedStep: step, runId }), warnings: [] };
  } catch (error) {
    if (!isTierraError(error)) throw error;
    return { path, bytes, pruned: [], warnings: [`the checkpoint is saved, but pruning failed: ${error.message}`] };
  }
}

function writeManifest(
  root: string,
  step: number,
  writers: number,
  fields: ManifestFields,
  files: readonly ManifestFile[],
): void {
  const savedAt = new Date().toISOString();
  const head = {
    format: manifestFormat,
    version: manifestVersion,
    step,
    createdBy: createdBy(),
    savedAt,
    writers,
  } as const;
  const text = Buffer.from(encodeManifest({ ...head, ...fields, files }));
  const path = join(root, manifestName);
  const fd = withIo('create', path, () => openSync(path, 'wx'));
  try {
    const half = text.length >> 1;
    writeFully(fd, text.subarray(0, half), 0, path);
    faultPoint('checkpoint.K5');
    writeFully(fd, text.subarray(half), half, path);
    faultPoint('checkpoint.manifestWritten');
    fsyncFile(fd, path);
    faultPoint('checkpoint.manifestFlushed');
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
