import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { TierraError } from '../core/errors.ts';
import { checkUnchanged } from './corpusFiles.ts';
import type { PacerOptions } from './pacer.ts';
import { type Manifest, manifestName } from './shardFormat.ts';
import { type CorpusPlan, tokenizeCorpus } from './tokenizeCorpus.ts';

const abandonedMs = 24 * 60 * 60 * 1000;

/**
 * Tokenizes a corpus into a folder of its own beside `target`, makes it durable and moves it into place with one rename.
 * When another process was first, its result stays and ours is dropped: both are the same.
 */
export async function buildCorpus(plan: CorpusPlan, target: string, pace: PacerOptions): Promise<void> {
  sweep(target);
  const aside = `${target}.building-${process.pid}-${Math.random().toString(36).slice(2)}`;
  mkdirSync(aside, { recursive: true });
  try {
    writeManifest(aside, await tokenizeCorpus(plan, aside, pace));
    checkUnchanged(plan.files.map(({ file }) => file));
    syncFolder(aside);
    moveIntoPlace(aside, target);
    syncFolder(path.dirname(target));
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    throw diskError(error, aside);
  }
}

function writeManifest(folder: string, manifest: Manifest): void {
  const file = openSync(path.join(folder, manifestName), 'wx');
  try {
    writeSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function moveIntoPlace(aside: string, target: string): void {
  try {
    renameSync(aside, target);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
    rmSync(aside, { recursive: true, force: true });
  }
}

/** A rename is durable once its folder is. */
function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function diskError(error: unknown, folder: string): unknown {
  if (error instanceof TierraError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === undefined) return error;
  return new TierraError('E_IO', `token cache: cannot write below ${path.dirname(folder)} (${code})`, {
    hint:
      code === 'ENOSPC'
        ? 'The disk is full; name another cache folder or free space.'
        : 'Check the cache folder, or name another one.',
    cause: error,
  });
}

/** Removes what a process that was killed left of the same corpus; a day old, so that nobody can be at it still. */
function sweep(target: string): void {
  const folder = path.dirname(target);
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(`${path.basename(target)}.building-`)) continue;
    const full = path.join(folder, name);
    const changed = statSync(full, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
    if (Date.now() - changed > abandonedMs) rmSync(full, { recursive: true, force: true });
  }
}
