import { TierraError } from '../../core/errors.ts';
import type { Database } from './driver.ts';
import { firstMigration } from './migrations/1-runs.ts';

/** Migration n makes version n of a store from version n - 1. What was released is never edited; new ones are added. */
export const migrations: readonly string[] = [firstMigration];

/**
 * Brings a store to this build's version, one transaction a migration. Throws `E_UNSUPPORTED` for a store of a newer version,
 * which is left untouched.
 */
export function migrate(database: Database, path: string, known = migrations): void {
  const versionOf = (): number => database.pragma('user_version', { simple: true }) as number;
  refuseNewer(versionOf(), path, known.length);
  if (versionOf() === known.length) return;
  const next = database.transaction((): boolean => {
    // Read again behind the lock: another process may have migrated meanwhile.
    const version = versionOf();
    if (version >= known.length) return false;
    database.exec(known[version]!);
    database.pragma(`user_version = ${version + 1}`);
    return true;
  });
  while (next.immediate()) {}
}

export function refuseNewer(version: number, path: string, known = migrations.length): void {
  if (version <= known) return;
  throw new TierraError('E_UNSUPPORTED', `${path} is of version ${version}, this build knows up to ${known}`, {
    hint: 'A newer version of Tierra wrote it: use that one, or give another file with record.store (--store).',
    details: { path, version, known },
  });
}
