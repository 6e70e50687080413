import { closeSync, openSync, readFileSync, rmSync, statSync, utimesSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive } from '../core/processes.ts';

const pollMs = 100;
const touchMs = 5000;
/** A lock that its owner has not touched for so long belongs to a dead one. */
const staleMs = 60_000;

/**
 * Keeps several processes from doing the same work at once. Only that: the caller's result must be safe when two build
 * anyway, which happens when a lock went stale (its process is gone or silent) or its file system has no exclusive create.
 */
export class BuildLock {
  readonly #file: string;
  #held = false;
  #touchedAt = 0;

  constructor(file: string) {
    this.#file = file;
  }

  /** Waits until the lock is ours (`build`) or `ready()` says that another process has done the work (`ready`). */
  async acquire(ready: () => boolean, waiting: () => void): Promise<'build' | 'ready'> {
    for (let polls = 0; ; polls++) {
      if (this.#take()) return ready() ? this.#releaseAs('ready') : 'build';
      if (this.#isStale()) continue;
      if (polls === 0) waiting();
      await sleep(pollMs);
      if (ready()) return 'ready';
    }
  }

  /** Tells waiting processes that this one is alive. */
  touch(): void {
    if (!this.#held || Date.now() - this.#touchedAt < touchMs) return;
    const now = new Date();
    this.#touchedAt = now.getTime();
    try {
      utimesSync(this.#file, now, now);
    } catch {
      this.#held = false;
    }
  }

  release(): void {
    if (this.#held) rmSync(this.#file, { force: true });
    this.#held = false;
  }

  #releaseAs<T>(result: T): T {
    this.release();
    return result;
  }

  #take(): boolean {
    try {
      const file = openSync(this.#file, 'wx');
      writeSync(file, JSON.stringify({ host: hostname(), pid: process.pid }));
      closeSync(file);
      this.#held = true;
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  #isStale(): boolean {
    try {
      if (Date.now() - statSync(this.#file).mtimeMs > staleMs) return this.#remove();
      const { host, pid } = JSON.parse(readFileSync(this.#file, 'utf8')) as { host?: unknown; pid?: unknown };
      return host === hostname() && typeof pid === 'number' && !isAlive(pid) && this.#remove();
    } catch {
      return false;
    }
  }

  #remove(): true {
    rmSync(this.#file, { force: true });
    return true;
  }
}
