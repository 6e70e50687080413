/** Stores of other versions. */
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { sqlite } from '../../../src/telemetry/runStore/driver.ts';
import { migrate, migrations } from '../../../src/telemetry/runStore/migrations.ts';
import { openStore } from '../../../src/telemetry/runStore/openStore.ts';
import { begin, reader, recordIn, row, scratch, withoutSqlite } from './support.ts';

describe.skipIf(withoutSqlite)('migrations', () => {
  it('a newer store is refused and left as it is', () => {
    const file = path.join(scratch(), 'tierra.db');
    const newer = new (sqlite())(file);
    newer.pragma('user_version = 99');
    newer.exec('CREATE TABLE later (x)');
    newer.close();
    for (const open of [() => recordIn(file), () => reader(file)]) {
      expect(open).toThrow(`${file} is of version 99, this build knows up to ${migrations.length}`);
    }
    const after = new (sqlite())(file);
    expect(after.pragma('user_version', { simple: true })).toBe(99);
    expect(after.prepare('SELECT name FROM sqlite_master').all()).toEqual([{ name: 'later' }]);
    after.close();
  });

  it('an older store is brought up one version after another, with what it holds', () => {
    const file = path.join(scratch(), 'tierra.db');
    const record = recordIn(file);
    begin(record);
    record.step(row(1));
    record.finish('completed');
    record.dispose();
    const database = reader(file);
    const more = [...migrations, "ALTER TABLE runs ADD COLUMN tag TEXT NOT NULL DEFAULT 'x'", 'CREATE TABLE tags (y)'];
    migrate(database, file, more);
    expect(database.pragma('user_version', { simple: true })).toBe(more.length);
    expect(database.prepare('SELECT id, tag FROM runs').all()).toEqual([{ id: 'small-1', tag: 'x' }]);
    migrate(database, file, more);
  });

  it('a migration that fails leaves the version before it', () => {
    const file = path.join(scratch(), 'tierra.db');
    const database = openStore(file, { busyMs: 1000 });
    expect(() => migrate(database, file, [...migrations, 'CREATE TABLE half (a); CREATE TABLE half (b)'])).toThrow();
    expect(database.pragma('user_version', { simple: true })).toBe(migrations.length);
    expect(database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'half'").all()).toEqual([]);
    database.close();
  });

  it('is in write-ahead mode', () => {
    const file = path.join(scratch(), 'tierra.db');
    const database = openStore(file, { busyMs: 1000 });
    expect(database.pragma('journal_mode', { simple: true })).toBe('wal');
    database.close();
  });
});
