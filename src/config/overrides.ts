import { isTierraError } from '../core/errors.ts';
import { type Problem, problemsError } from './problems.ts';
import { isForbiddenKey, isPlainObject, type Path, type Place, pathKey, type SourceTree } from './tree.ts';
import { parseYaml } from './yamlTree.ts';

/** One value from the command line. */
export interface Override {
  /** The flag as typed, such as `--set a.b=1` or `--trace out.json`. */
  readonly source: string;
  readonly path: readonly string[];
  readonly value: unknown;
}

/** `a.b=value`, as after `--set`, or a value that another flag gave. */
export type OverrideInput = string | Override;

/** True for a place that an override wrote. */
export const isOverride = (place: Place | undefined): boolean => place?.source.startsWith('--') ?? false;

/**
 * Writes overrides into the tree, later ones over earlier ones. A text's value is read as YAML, so numbers, lists,
 * `null` and `{...}` work; list items are reached by their index. Throws `E_CONFIG` naming every override that fails.
 */
export function applyOverrides(tree: SourceTree, overrides: readonly OverrideInput[]): void {
  const problems: Problem[] = [];
  for (const input of overrides) {
    const override = typeof input === 'string' ? parseOverride(input) : input;
    const failure = typeof override === 'string' ? override : write(tree, override);
    const source = typeof input === 'string' ? `--set ${input}` : input.source;
    if (failure !== undefined) problems.push({ place: { source }, message: failure });
  }
  if (problems.length > 0) throw problemsError('command line', problems);
}

/** The override, or what is wrong with its text. */
function parseOverride(text: string): Override | string {
  const equals = text.indexOf('=');
  if (equals <= 0) return 'expected key=value, such as train.batchSize=4';
  const path = text.slice(0, equals).trim().split('.');
  const name = path.join('.');
  if (path.some((part) => !/^[\w-]+$/.test(part))) return `"${name}" is not a key; write it as section.field`;
  const forbidden = path.find(isForbiddenKey);
  if (forbidden !== undefined) return `"${forbidden}" is not allowed as a key`;
  try {
    return { source: `--set ${text}`, path, value: parseValue(text.slice(equals + 1)) };
  } catch (error) {
    if (!isTierraError(error)) throw error;
    return `the value is not valid YAML; quote it: --set '${name}="..."'`;
  }
}

/** A value as it would stand in the file. Throws `E_CONFIG` when it is not YAML. */
export function parseValue(text: string): unknown {
  return parseYaml(`value: ${text}`, 'value').root.value;
}

/** Undefined when done, else what stands in the way. */
function write(tree: SourceTree, { path, value, source }: Override): string | undefined {
  const place: Place = { source };
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
