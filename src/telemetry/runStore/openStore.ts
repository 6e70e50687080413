import { existsSync } from 'node:fs';
import path from 'node:path';
import { isTierraError, TierraError } from '../../core/errors.ts';
import { makeFolder } from '../../core/files.ts';
import { sleepSync } from '../../core/sleep.ts';
import { type Database, sqlite } from './driver.ts';
import { migrate } from './migrations.ts';

export interface OpenOptions {
  /** For readers: a store that is missing is an error, not made. */
  readonly mustExist?: boolean;
  /** How long a call waits for another process that is writing. */
  readonly busyMs: number;
}

/**
 * Opens a store, makes it where it is missing, and brings it to this build's version. Write-ahead log: readers and the writer do not
 * wait for each other, and what was committed survives the death of the process.
 * Throws `E_IO`, `E_CORRUPT` for a file that is no store, `E_UNSUPPORTED` for one of a newer version.
 */
export function openStore(file: string, { mustExist = false, busyMs }: OpenOptions): Database {
  const Database = sqlite();
  if (mustExist && !existsSync(file)) {
    throw new TierraError('E_IO', `no run store at ${file}`, {
      hint: 'Runs are recorded by `tierra train`, in runs/tierra.db unless record.store says otherwise; give another place with --store.',
    });
  }
  if (!mustExist) makeFolder(path.dirname(path.resolve(file)));
  let database: Database | undefined;
  try {
    // Readers may write too: what a killed process left in the log is recovered by whoever comes next.
    database = new Database(file, { timeout: busyMs });
    enterWal(database, busyMs);
    // The log is flushed when it is taken over into the store: power loss may cost the last minutes, never the store.
    database.pragma('synchronous = NORMAL');
    database.pragma('foreign_keys = ON');
    migrate(database, file);
    return database;
  } catch (error) {
    database?.close();
    throw storeError(file, error);
  }
}

/** How often to ask again for a store that another process holds. */
const askAgainMs = 5;

/** SQLite does not wait for others when the mode of a new file changes: of two processes that begin together one would be refused. */
function enterWal(database: Database, busyMs: number): void {
  const giveUpMs = Date.now() + busyMs;
  for (;;) {
    try {
      database.pragma('journal_mode = WAL');
      return;
    } catch (error) {
      const isBusy = error instanceof sqlite().SqliteError && error.code.startsWith('SQLITE_BUSY');
      if (!isBusy || Date.now() >= giveUpMs) throw error;
      sleepSync(askAgainMs);
    }
  }
}

/** SQLite's failures as errors of ours. */
export function storeError(file: string, error: unknown): unknown {
  if (isTierraError(error) || !(error instanceof sqlite().SqliteError)) return error;
  const fields = { details: { path: file, sqlite: error.code }, cause: error };
  if (error.code === 'SQLITE_NOTADB' || error.code.startsWith('SQLITE_CORRUPT')) {
    const hint = 'Move the file away, or give another one with record.store (--store).';
    return new TierraError('E_CORRUPT', `${file} is not a run store, or a damaged one: ${error.message}`, {
      ...fields,
      hint,
    });
  }
  const hint = hints.find(([code]) => error.code.startsWith(code))?.[1];
  return new TierraError('E_IO', `${file}: ${error.message}`, { ...fields, ...(hint !== undefined && { hint }) });
}

const hints: readonly (readonly [string, string])[] = [
  ['SQLITE_FULL', 'The disk is full: free some space, or put the store elsewhere with record.store.'],
  ['SQLITE_BUSY', 'Another process holds the store: try again.'],
  ['SQLITE_READONLY', 'Check the permissions of the file and of its folder.'],
  ['SQLITE_CANTOPEN', 'Check the permissions of the folder.'],
  ['SQLITE_IOERR', 'The file system must support locks and shared memory: network file systems often do not.'],
];
