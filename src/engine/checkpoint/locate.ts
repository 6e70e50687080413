/** What a path typed by a person means: a run, its `checkpoints` folder, or one checkpoint. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { TierraError } from '../../core/errors.ts';
import { nearest } from '../../core/nearest.ts';
import { findNewest } from './find.ts';
import { checkpointsFolder, parseStepName } from './names.ts';

export interface CheckpointPlace {
  /** The run's output folder, as typed: paths below it stay short. Null for a checkpoint that lies elsewhere. */
  readonly output: string | null;
  /** Set when one checkpoint was meant. */
  readonly checkpoint: string | null;
}

/** Throws `E_CHECKPOINT` when there is nothing of the kind, with the nearest name that exists. */
export function locateCheckpoints(location: string): CheckpointPlace {
  if (isFolderOf(location)) {
    if (isFolderOf(checkpointsFolder(location))) return { output: location, checkpoint: null };
    if (basename(location) === 'checkpoints') return { output: dirname(location), checkpoint: null };
    if (existsSync(join(location, 'manifest.json')) || parseStepName(basename(location)) !== undefined) {
      const inRun = basename(dirname(location)) === 'checkpoints';
      return { output: inRun ? dirname(dirname(location)) : null, checkpoint: location };
    }
  }
  throw new TierraError(
    'E_CHECKPOINT',
    `${location}: ${isFolderOf(location) ? 'holds no checkpoints' : 'there is no such folder'}`,
    {
      hint: suggestion(location),
    },
  );
}

/** One checkpoint: the one that is meant, or the newest of the run that verifies. */
export async function oneCheckpoint(location: string): Promise<string> {
  const { output, checkpoint } = locateCheckpoints(location);
  if (checkpoint !== null) return checkpoint;
  const { found, passedOver } = await findNewest(output!);
  if (found !== undefined) return found.path;
  throw new TierraError('E_CHECKPOINT', `${location}: none of its ${passedOver.length} checkpoints is sound`, {
    hint: `\`tierra checkpoint verify ${location}\` says what is wrong with each.`,
  });
}

/** Also below a file, where there is nothing. */
function isFolderOf(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function suggestion(location: string): string {
  const general = 'Give a run folder, its checkpoints folder, or one checkpoint (step-N).';
  const around = [dirname(location), 'runs'].flatMap((folder) =>
    isFolderOf(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [],
  );
  const runs = around.filter(
    (path) => isFolderOf(checkpointsFolder(path)) || parseStepName(basename(path)) !== undefined,
  );
  const near = nearest(
    basename(location),
    runs.map((path) => basename(path)),
  );
  const meant = runs.find((path) => basename(path) === near) ?? (runs.length === 1 ? runs[0] : undefined);
  return meant === undefined ? general : `Did you mean ${meant}? ${general}`;
}
