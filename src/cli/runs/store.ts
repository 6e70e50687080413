import { type Database, openStore } from '../../telemetry/runStore/index.ts';
import type { Arguments, Option } from '../command.ts';

const usualStore = 'runs/tierra.db';

export const storeOption: Option = { describe: `The store of runs; ${usualStore} when not given` };

/** Opens the store that the flag names, calls `use`, closes it. */
export async function withStore<T>(args: Arguments, use: (database: Database) => T | Promise<T>): Promise<T> {
  const database = openStore(args.flags.get('store')?.[0] ?? usualStore, { mustExist: true, busyMs: 5000 });
  try {
    return await use(database);
  } finally {
    database.close();
  }
}
