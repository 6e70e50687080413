/** A thread that finishes checkpoints: small files, manifest, flushes, rename, pruning. Nothing of it waits for a training step. */
import { parentPort } from 'node:worker_threads';
import { isTierraError } from '../../core/errors.ts';
import { faultPoint } from '../../core/faults.ts';
import { type Commit, commitCheckpoint } from './commit.ts';
import { contentFile, copiedFile } from './content.ts';
import { abandonOnError, writeFiles } from './write.ts';

/** A small file of a checkpoint as plain data. */
export type SmallFile = { readonly path: string } & ({ readonly text: string } | { readonly from: string });

export interface CommitRequest {
  readonly commit: Commit;
  /** Still to be written. */
  readonly small: readonly SmallFile[];
}

/** Errors lose their class on the way between threads. */
export interface PlainError {
  readonly code: string | null;
  readonly message: string;
  readonly hint: string | null;
}

parentPort?.on('message', ({ commit, small }: CommitRequest) => {
  void finish(commit, small).then(
    (result) => parentPort!.postMessage({ result }),
    (error: unknown) => parentPort!.postMessage({ error: plain(error) }),
  );
});

async function finish(commit: Commit, small: readonly SmallFile[]) {
  const { places } = commit;
  const written = await abandonOnError(places, async () => {
    faultPoint('checkpoint.K3');
    const files = small.map((file) =>
      'text' in file ? contentFile(file.path, file.text) : copiedFile(file.path, file.from),
    );
    const made = await writeFiles(places.temporary, files);
    faultPoint('checkpoint.K4');
    return made;
  });
  return commitCheckpoint({ ...commit, files: [...written, ...commit.files] });
}

function plain(error: unknown): PlainError {
  const message = error instanceof Error ? error.message : String(error);
  if (!isTierraError(error)) return { code: null, message, hint: null };
  return { code: error.code, message, hint: error.hint ?? null };
}
