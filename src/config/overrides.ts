import { isTierraError } from '../core/errors.ts';
import { type Problem, problemsError } from './problems.ts';
import { isForbiddenKey, isPlainObject, type Path, type Place, pathKey, type SourceTree } from './tree.ts';
import { parseYaml } from './yamlTree.ts';

/** True for a place that an override wrote. */
export const isOverride = (place: Place | undefined): boolean => place?.source.startsWith('--set ') ?? false;

/**
 * Writes `a.b=value` texts into the tree, later ones over earlier ones. The value is read as YAML, so numbers, lists,
 * `null` and `{...}` work; list items are reached by their index. Throws `E_CONFIG` naming every override that fails.
 */
export function applyOverrides(tree: SourceTree, overrides: readonly string[]): void {
  const problems: Problem[] = [];
  for (const override of overrides) {
    const message = applyOverride(tree, override);
    if (message !== undefined) problems.push({ place: { source: `--set ${override}` }, message });
  }
  if (problems.length > 0) throw problemsError('--set', problems);
}

function applyOverride(tree: SourceTree, override: string): string | undefined {
  const equals = override.indexOf('=');
  if (equals <= 0) return 'expected key=value, such as train.batchSize=4';
  const path = override.slice(0, equals).trim().split('.');
  if (path.some((part) => !/^[\w-]+$/.test(part))) return `"${path.join('.')}" is not a key; write it as section.field`;
  const forbidden = path.find(isForbiddenKey);
  if (forbidden !== undefined) return `"${forbidden}" is not allowed as a key`;

  let value: unknown;
  try {
    value = parseYaml(`value: ${override.slice(equals + 1)}`, 'value').root.value;
  } catch (error) {
    if (!isTierraError(error)) throw error;
    return `the value is not valid YAML; quote it: --set '${path.join('.')}="..."'`;
  }
  return write(tree, path, value, { source: `--set ${override}` });
}

function write(tree: SourceTree, path: readonly string[], value: unknown, place: Place): string | undefined {
  let holder: unknown = tree.root;
  const walked: (string | number)[] = [];
  for (const [depth, part] of path.entries()) {
    const last = depth === path.length - 1;
    if (Array.isArray(holder)) {
      const index = /^\d+$/.test(part) ? Number(part) : Number.NaN;
      if (!(index < holder.length)) return `${walked.join('.')} has ${holder.length} items, there is no "${part}"`;
      walked.push(index);
      if (last) holder[index] = value;
      holder = holder[index];
    } else if (isPlainObject(holder)) {
      walked.push(part);
      if (last) holder[part] = value;
      else holder[part] ??= {};
      holder = holder[part];
    } else {
      return `${walked.join('.')} is ${JSON.stringify(holder)}, it has no "${part}"`;
    }
  }
  forgetBelow(tree, walked);
  tree.keyPlaces.set(pathKey(walked), place);
  tree.valuePlaces.set(pathKey(walked), place);
  return undefined;
}

/** Drops the places of what the override replaced. */
function forgetBelow(tree: SourceTree, path: Path): void {
  const prefix = `${pathKey(path).slice(0, -1)},`;
  for (const places of [tree.keyPlaces, tree.valuePlaces]) {
    for (const key of [...places.keys()]) if (key.startsWith(prefix)) places.delete(key);
  }
}
