import { TierraError } from '../core/errors.ts';
import { limits } from './limits.ts';
import { formatPlace, type Place } from './tree.ts';

/** One thing wrong with a configuration. */
export interface Problem {
  readonly place?: Place | undefined;
  readonly message: string;
}

const describe = (problem: Problem): string =>
  problem.place === undefined ? problem.message : `${formatPlace(problem.place)}: ${problem.message}`;

/** One error for all problems, in the order of the file. `details.problems` has them one by one. */
export function problemsError(source: string, problems: readonly Problem[], hint?: string): TierraError {
  const ordered = [...problems].sort(
    (a, b) => (a.place?.line ?? 0) - (b.place?.line ?? 0) || (a.place?.column ?? 0) - (b.place?.column ?? 0),
  );
  const lines = ordered.slice(0, limits.problems).map(describe);
  const untold = ordered.length > lines.length;
  const count = `${untold ? 'more than ' : ''}${lines.length} problems`;
  if (untold) lines.push('...');
  const message =
    lines.length === 1 ? lines[0]! : `${source}: ${count}\n${lines.map((line) => `  ${line}`).join('\n')}`;
  return new TierraError('E_CONFIG', message, {
    details: { source, problems: ordered },
    ...(hint === undefined ? {} : { hint }),
  });
}
