import { createRequire } from 'node:module';
import type Sqlite from 'better-sqlite3';
import { TierraError } from '../../core/errors.ts';

export type Database = Sqlite.Database;
type DatabaseClass = typeof Sqlite;

let loaded: DatabaseClass | undefined;

/** SQLite, when it is first needed. Throws `E_NATIVE_MISSING` where npm could neither fetch nor build it. */
export function sqlite(): DatabaseClass {
  if (loaded !== undefined) return loaded;
  try {
    loaded = createRequire(import.meta.url)('better-sqlite3') as DatabaseClass;
    // The addon itself is loaded by the first database.
    new loaded(':memory:').close();
    return loaded;
  } catch (cause) {
    loaded = undefined;
    const reason = (cause instanceof Error ? cause.message : String(cause)).split('\n')[0];
    throw new TierraError(
      'E_NATIVE_MISSING',
      `the run store needs better-sqlite3, which does not work here: ${reason}`,
      {
        hint: 'Run `npm rebuild better-sqlite3` and read what it says (it compiles with python3, make and g++ where no build can be fetched), or set record: null.',
        cause,
      },
    );
  }
}
