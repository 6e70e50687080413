import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { withIo } from '../../core/files.ts';
import { namesIn } from './find.ts';
import { checkpointsFolder, ownerState, parseWorkName } from './names.ts';

/** A run on another machine cannot be asked whether it lives; a save in progress touches its folder all the time. */
const foreignIdleMs = 3_600_000;

export interface Leftover {
  readonly path: string;
  readonly removed: boolean;
  readonly reason: string;
}

/** Removes what dead runs left half written or half removed, and says so; what a living run works on stays. */
export function removeLeftovers(output: string): readonly Leftover[] {
  const folder = checkpointsFolder(output);
  const found: Leftover[] = [];
  for (const name of namesIn(folder)) {
    const work = parseWorkName(name);
    if (work === undefined) continue;
    const path = join(folder, name);
    const reason = whyAbandoned(path, work.runId);
    if (reason !== undefined) withIo('remove', path, () => rmSync(path, { recursive: true, force: true }));
    found.push({
      path,
      removed: reason !== undefined,
      reason: reason ?? `run ${work.runId} may still be at work on it`,
    });
  }
  return found;
}

function whyAbandoned(path: string, runId: string): string | undefined {
  const owner = ownerState(runId);
  if (owner === 'alive') return undefined;
  if (owner === 'dead') return `run ${runId} is dead`;
  const idleMs = Date.now() - newestChangeMs(path);
  if (idleMs < foreignIdleMs) return undefined;
  return `run ${runId} is not of this machine and has not touched it for ${Math.floor(idleMs / 60_000)} minutes`;
}

function newestChangeMs(path: string): number {
  const inside = withIo('list', path, () => readdirSync(path, { recursive: true, encoding: 'utf8' }));
  const times = [path, ...inside.map((name) => join(path, name))].map(
    (each) => lstatSync(each, { throwIfNoEntry: false })?.mtimeMs ?? 0,
  );
  return Math.max(...times);
}
