/** Runs by what a person types. */
import { TierraError } from '../../core/errors.ts';
import { nearest } from '../../core/nearest.ts';
import type { Database } from './driver.ts';
import type { RunRow } from './identity.ts';

interface NamedRow extends RunRow {
  readonly name: string;
}

/**
 * By id (`small-2`), by name (its newest run), `latest`, or the beginning of an id that only one run has. Throws
 * `E_ARGUMENT` that names what is near.
 */
export function findRun(database: Database, typed: string): RunRow {
  const all = database.prepare<[], NamedRow>('SELECT number, id, name FROM runs ORDER BY number').all();
  if (all.length === 0) {
    throw new TierraError('E_ARGUMENT', 'no run is recorded in this store yet', {
      hint: 'Train something: `npx tierra train CONFIG`.',
    });
  }
  const exact = all.find(({ id }) => id === typed) ?? all.findLast(({ name }) => name === typed);
  if (exact !== undefined) return exact;
  if (typed === 'latest') return all.at(-1)!;
  const beginning = all.filter(({ id }) => id.startsWith(typed));
  if (beginning.length === 1) return beginning[0]!;
  if (beginning.length > 1) {
    throw new TierraError('E_ARGUMENT', `${typed} is the beginning of ${beginning.length} runs: ${listed(beginning)}`, {
      hint: 'Type more of it.',
    });
  }
  const meant = nearest(
    typed,
    all.flatMap(({ id, name }) => [id, name]),
  );
  throw new TierraError('E_ARGUMENT', `there is no run ${JSON.stringify(typed)}`, {
    hint: meant === undefined ? `Runs: ${listed(all)}. \`tierra runs ls\` shows them.` : `Did you mean ${meant}?`,
  });
}

/** The newest first, not more than a line holds. */
function listed(runs: readonly RunRow[]): string {
  const shown = runs.slice(-6).reverse();
  return shown.map(({ id }) => id).join(', ') + (runs.length > shown.length ? ', …' : '');
}
