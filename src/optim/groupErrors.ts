/** Why a parameter group got nothing, and what was probably meant. */
import { TierraError } from '../core/errors.ts';
import { editDistance } from '../core/nearest.ts';
import type { CompiledRule, NamedShape } from './groups.ts';

const shown = 3;

/** The error for a rule that no parameter ended up with. */
export function unmatchedRule(
  idle: CompiledRule,
  rules: readonly CompiledRule[],
  named: readonly NamedShape[],
): TierraError {
  const where = `optimizer.groups[${idle.index}]`;
  const taken = named.filter(({ name }) => idle.pattern.test(name));
  if (taken.length > 0) {
    const first = rules.find((rule) => rule.pattern.test(taken[0]!.name))!;
    return new TierraError('E_CONFIG', `${where}: optimizer.groups[${first.index}] already has all that it matches`, {
      hint: 'The first group that matches a name wins: put the narrower pattern first.',
      details: { match: idle.pattern.source, parameters: taken.map(({ name }) => name) },
    });
  }
  const near = nearestNames(idle.pattern.source, named);
  return new TierraError('E_CONFIG', `${where}: ${idle.pattern} matches none of ${named.length} parameters`, {
    hint: near.length === 0 ? 'The model has no parameters.' : `The nearest names are ${near.join(', ')}.`,
    details: { match: idle.pattern.source, nearest: near },
  });
}

/** Names by their distance to the pattern's plain text, counting only the best-fitting stretch of the name. */
function nearestNames(source: string, named: readonly NamedShape[]): string[] {
  const text = source.replace(/\\([dwsDWSbB])/g, '').replace(/[\\^$.*+?()[\]{}|]+/g, '.');
  const distance = (name: string): number => {
    let best = editDistance(text, name);
    for (let start = 0; start + text.length <= name.length; start++) {
      best = Math.min(best, editDistance(text, name.slice(start, start + text.length)));
    }
    return best;
  };
  return named
    .map(({ name }) => ({ name, distance: distance(name) }))
    .sort((a, b) => a.distance - b.distance || a.name.localeCompare(b.name))
    .slice(0, shown)
    .map(({ name }) => name);
}
