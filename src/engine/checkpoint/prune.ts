import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { check } from '../../core/errors.ts';
import { faultPoint } from '../../core/faults.ts';
import { fsyncFolder, withIo } from '../../core/files.ts';
import { type CheckpointListing, findNewest, listCheckpoints } from './find.ts';
import { checkpointsFolder, currentRunId, workName } from './names.ts';

/** Which checkpoints stay. */
export interface KeepPolicy {
  /** The newest so many, at least 1. */
  readonly keepLast: number;
  /** And every one whose step is a multiple of this; 0 or absent keeps no others. */
  readonly keepEvery?: number;
}

export function checkPolicy({ keepLast, keepEvery = 0 }: KeepPolicy): void {
  check(Number.isSafeInteger(keepLast) && keepLast >= 1, `keepLast must be at least 1, got ${keepLast}`);
  check(Number.isSafeInteger(keepEvery) && keepEvery >= 0, `keepEvery must be a count of steps, got ${keepEvery}`);
}

export interface PruneOptions {
  /** A step that the caller has just written, and that need not be verified again. */
  readonly trustedStep?: number;
  readonly runId?: string;
}

/**
 * Removes the complete checkpoints that the policy does not keep and that a newer one replaces; returns their paths.
 * The newer one must verify to the last byte, or be `trustedStep`. Damaged and unknown checkpoints are left for a
 * person to look at.
 */
export async function pruneCheckpoints(
  output: string,
  policy: KeepPolicy,
  { trustedStep, runId = currentRunId() }: PruneOptions = {},
): Promise<readonly string[]> {
  const replaced = await prunable(output, policy, trustedStep);
  for (const { path, step } of replaced) removeCheckpoint(output, path, step, runId);
  return replaced.map(({ path }) => path);
}

/** What `pruneCheckpoints` would remove. Writes nothing. */
export async function prunable(
  output: string,
  policy: KeepPolicy,
  trustedStep?: number,
): Promise<readonly CheckpointListing[]> {
  checkPolicy(policy);
  const { keepLast, keepEvery = 0 } = policy;
  const complete = listCheckpoints(output).filter(({ state }) => state === 'complete');
  const excess = complete
    .slice(0, Math.max(0, complete.length - keepLast))
    .filter(({ step }) => keepEvery === 0 || step % keepEvery !== 0);
  if (excess.length === 0) return [];
  const newest = trustedStep ?? (await findNewest(output)).found?.step;
  return excess.filter(({ step }) => newest !== undefined && step < newest);
}

/** Takes a checkpoint's name away first, in one durable move: what is removed in part can never be taken for whole. */
export function removeCheckpoint(output: string, path: string, step: number, runId: string): void {
  const folder = checkpointsFolder(output);
  const doomed = join(folder, workName({ step, kind: 'old', runId }));
  withIo('clear', doomed, () => rmSync(doomed, { recursive: true, force: true }));
  withIo('rename', path, () => renameSync(path, doomed));
  fsyncFolder(folder);
  faultPoint('checkpoint.K8');
  withIo('remove', doomed, () => rmSync(doomed, { recursive: true, force: true }));
  faultPoint('checkpoint.pruned');
}
