/**
 * One checkpoint written by several processes: each writes its own files and then a list of them; when all have said that
 * they are done, one of them commits. Nobody sends bytes to anybody, and the manifest is written once, last.
 *
 *   writer 0             prepareParts      make the folder; then a barrier
 *   every writer         writePart         files, flushed, then parts/<writer>.json, flushed; then a vote
 *   writer 0             commitParts       read the lists, one manifest, rename
 *
 * A writer that failed has no list: `commitParts` refuses, and the folder is as if the save had never begun.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { check, TierraError } from '../../core/errors.ts';
import { faultPoint } from '../../core/faults.ts';
import { makeFolder, withIo } from '../../core/files.ts';
import { writeWholeFile } from '../../tensor/safetensors/index.ts';
import { type BegunCheckpoint, beginCheckpoint, checkpointPlaces } from './begin.ts';
import { commitCheckpoint, type WrittenCheckpoint } from './commit.ts';
import type { CheckpointFileWriter } from './content.ts';
import { checkManifestFields, type ManifestFields, type ManifestFile } from './manifest.ts';
import { checkPolicy, type KeepPolicy } from './prune.ts';
import { abandonOnError, writeFiles } from './write.ts';

const listsFolder = 'parts';

/** What all writers of a checkpoint agree on: folder, step, and the run id of writer 0. */
export interface SharedCheckpoint {
  readonly output: string;
  readonly step: number;
  readonly runId: string;
  readonly writers: number;
}

const placesOf = ({ output, step, runId }: SharedCheckpoint): BegunCheckpoint => checkpointPlaces(output, step, runId);
const listOf = (temporary: string, writer: number): string => join(temporary, listsFolder, `${writer}.json`);

/** Writer 0, before the others start: room for the `needBytes` of all, and the folder. */
export function prepareParts(shared: SharedCheckpoint, needBytes: number): Promise<void> {
  const places = placesOf(shared);
  return abandonOnError(places, async () => {
    await beginCheckpoint(places, needBytes);
    makeFolder(join(places.temporary, listsFolder));
  });
}

/** Writes this writer's files. No two writers may write one path: put the writer into the file names. */
export async function writePart(
  shared: SharedCheckpoint,
  writer: number,
  files: readonly CheckpointFileWriter[],
): Promise<void> {
  check(writer >= 0 && writer < shared.writers, `writer ${writer} is none of ${shared.writers}`);
  const { temporary } = placesOf(shared);
  const written = await writeFiles(temporary, files);
  faultPoint('checkpoint.partWritten');
  writeWholeFile(listOf(temporary, writer), Buffer.from(JSON.stringify(written)));
}

/** Writer 0, after the vote: gives the checkpoint its manifest and its name. `E_CHECKPOINT` names a writer without a list. */
export async function commitParts(
  shared: SharedCheckpoint,
  fields: ManifestFields,
  policy: KeepPolicy,
): Promise<WrittenCheckpoint> {
  checkPolicy(policy);
  checkManifestFields(fields);
  const places = placesOf(shared);
  const files = await abandonOnError(places, async () => {
    const all = Array.from({ length: shared.writers }, (_, writer) => readList(places.temporary, writer)).flat();
    const twice = all.find(({ path }, index) => all.findIndex((other) => other.path === path) !== index);
    check(twice === undefined, `two writers wrote ${twice?.path}`);
    const lists = join(places.temporary, listsFolder);
    withIo('remove', lists, () => rmSync(lists, { recursive: true }));
    return all;
  });
  return commitCheckpoint({ places, fields, files, writers: shared.writers, policy });
}

function readList(temporary: string, writer: number): readonly ManifestFile[] {
  const path = listOf(temporary, writer);
  if (!existsSync(path)) {
    throw new TierraError('E_CHECKPOINT', `writer ${writer} did not finish its part`, {
      hint: 'Look at the messages of that process: the checkpoint before this one is untouched.',
      details: { writer },
    });
  }
  return JSON.parse(withIo('read', path, () => readFileSync(path, 'utf8'))) as ManifestFile[];
}
