import { relative, sep } from 'node:path';
import { faultPoint } from '../../core/faults.ts';
import type { WrittenFile } from '../../tensor/safetensors/index.ts';
import { type BegunCheckpoint, beginCheckpoint, checkpointPlaces, discardCheckpoint, notWritten } from './begin.ts';
import { commitCheckpoint, type WrittenCheckpoint } from './commit.ts';
import type { CheckpointFileWriter } from './content.ts';
import { checkInnerPath, checkManifestFields, type ManifestFields, type ManifestFile } from './manifest.ts';
import { currentRunId } from './names.ts';
import { checkPolicy, type KeepPolicy } from './prune.ts';

export interface CheckpointContent {
  readonly manifestFields: ManifestFields;
  readonly files: readonly CheckpointFileWriter[];
}

export interface WriteOptions {
  readonly runId?: string;
  /** Runs after all files are on disk and before the manifest: where several ranks agree. Throwing abandons the save. */
  readonly beforeManifest?: () => Promise<void>;
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
  const places = checkpointPlaces(output, step, options.runId ?? currentRunId());
  const files = await abandonOnError(places, async () => {
    await beginCheckpoint(places, totalBytes(content.files));
    const written = await writeFiles(places.temporary, content.files);
    faultPoint('checkpoint.K3');
    await options.beforeManifest?.();
    faultPoint('checkpoint.K4');
    return written;
  });
  return commitCheckpoint({ places, fields: content.manifestFields, files, writers: 1, policy });
}

/** Runs a part of a save; what it throws ends the save and removes what was begun. */
export async function abandonOnError<T>(places: BegunCheckpoint, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    discardCheckpoint(places);
    throw notWritten(places, error);
  }
}

export const totalBytes = (files: readonly CheckpointFileWriter[]): number =>
  files.reduce((sum, file) => sum + file.bytes, 0);

export async function writeFiles(root: string, writers: readonly CheckpointFileWriter[]): Promise<ManifestFile[]> {
  const files: ManifestFile[] = [];
  for (const writer of writers) files.push(...(await writer.write(root)).map((file) => inner(root, file)));
  return files;
}

/** A written file as the manifest lists it. */
export function inner(root: string, { path, bytes, sha256 }: WrittenFile): ManifestFile {
  const inside = relative(root, path).replaceAll(sep, '/');
  checkInnerPath(inside);
  return { path: inside, bytes, sha256 };
}
