import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ioError } from '../../core/files.ts';
import type { Manifest } from './manifest.ts';
import { checkpointsFolder, parseStepName } from './names.ts';
import { type CheckpointState, checkSizes, stateOf, type VerifiedCheckpoint, verifyCheckpoint } from './verify.ts';

export interface CheckpointListing {
  readonly step: number;
  readonly path: string;
  readonly state: CheckpointState;
  /** Why it is not complete. */
  readonly reason?: string;
  /** Of a complete one. */
  readonly manifest?: Manifest;
}

/** What `findNewest` found, and why it did not take what is newer. */
export interface NewestCheckpoint {
  readonly found: VerifiedCheckpoint | undefined;
  readonly passedOver: readonly CheckpointListing[];
}

/** The checkpoints of a run, oldest first. Looks at manifests and sizes, not at every byte. Writes nothing. */
export function listCheckpoints(output: string): readonly CheckpointListing[] {
  return stepFolders(output).map(({ step, path }) => {
    try {
      return { step, path, state: 'complete' as const, manifest: checkSizes(path) };
    } catch (error) {
      return { step, path, ...stateOf(error) };
    }
  });
}

/** The newest checkpoint whose every byte verifies. Writes nothing, so it can be killed at any time. */
export async function findNewest(output: string): Promise<NewestCheckpoint> {
  const passedOver: CheckpointListing[] = [];
  for (const { step, path } of stepFolders(output).reverse()) {
    try {
      return { found: await verifyCheckpoint(path), passedOver };
    } catch (error) {
      passedOver.push({ step, path, ...stateOf(error) });
    }
  }
  return { found: undefined, passedOver };
}

function stepFolders(output: string): { step: number; path: string }[] {
  const folder = checkpointsFolder(output);
  return namesIn(folder)
    .map((name) => ({ step: parseStepName(name), path: join(folder, name) }))
    .filter((entry): entry is { step: number; path: string } => entry.step !== undefined)
    .sort((a, b) => a.step - b.step);
}

/** Names in a folder; none when it does not exist. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return [];
    throw ioError('list', folder, error);
  }
}
