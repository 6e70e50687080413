/**
 * One setup at a time: a lock file that names its owner by process id and start time, so that a lock left by a killed
 * process, or by one whose number was given out again, is recognised.
 */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { SetupStop } from './stop.mjs';

const pollMs = 250;

/**
 * @param {string} file @param {(line: string) => void} say @param {{ waitMs?: number }} [options]
 * @returns {Promise<() => void>} releases the lock
 */
export async function takeLock(file, say, { waitMs = 3_600_000 } = {}) {
  mkdirSync(path.dirname(file), { recursive: true });
  const mine = identity(process.pid) ?? `${process.pid} 0`;
  const deadline = Date.now() + waitMs;
  for (let told = false; ; ) {
    if (create(file, mine)) return () => release(file, mine);
    const owner = read(file);
    if (owner !== undefined && !isAlive(owner)) {
      removeStale(file, owner);
      continue;
    }
    if (Date.now() >= deadline) {
      throw new SetupStop('broken', `another setup (process ${owner?.split(' ')[0]}) holds ${file}`, {
        remedy: 'Wait for it to end, or stop that process.',
      });
    }
    if (!told && owner !== undefined) say(`waiting for another setup (process ${owner.split(' ')[0]}) to end`);
    told = told || owner !== undefined;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** @param {string} file @param {string} content */
function create(file, content) {
  // A link appears together with its content; a plain exclusive create would show an empty file for a moment.
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, content);
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

/** @param {string} file */
function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** Takes the stale lock aside first: if another process was quicker and has a new one there, that one is put back. */
function removeStale(/** @type {string} */ file, /** @type {string} */ owner) {
  const aside = `${file}.stale.${process.pid}`;
  try {
    renameSync(file, aside);
    if (read(aside) !== owner) linkSync(aside, file);
  } catch {
    // somebody else removed it
  }
  rmSync(aside, { force: true });
}

/** @param {string} file @param {string} mine */
function release(file, mine) {
  if (read(file) === mine) rmSync(file, { force: true });
}

/** @param {string} owner */
function isAlive(owner) {
  const pid = Number.parseInt(owner, 10);
  return Number.isInteger(pid) && identity(pid) === owner;
}

/** Process id and the kernel's start time of it, or undefined when there is no such process. @param {number} pid */
export function identity(pid) {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The second field is a name in parentheses that may hold spaces; the start time is the 20th after it.
  return `${pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
}
