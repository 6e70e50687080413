import { z } from 'zod';
import { nearest } from '../core/nearest.ts';
import { limits } from './limits.ts';
import type { Problem } from './problems.ts';
import { configSchema } from './schema/index.ts';
import { branches, branchFor, childOf, knownKeys, markOf, peel, phrase } from './schemaWalk.ts';
import { suggestKey } from './suggest.ts';
import { formatPath, type Path, placeOf, type SourceTree, valueAt } from './tree.ts';

/**
 * What the validator found, in our words and with places. One problem per leaf, however many checks it failed.
 * Stops a little after as many problems as an error tells.
 */
export function diagnose(tree: SourceTree, issues: readonly z.core.$ZodIssue[]): Problem[] {
  const problems = new Map<string, Problem>();
  for (const issue of issues) {
    if (problems.size > limits.problems) break;
    for (const problem of explain(tree, issue)) problems.set(problem.message, problem);
  }
  return [...problems.values()];
}

function explain(tree: SourceTree, issue: z.core.$ZodIssue): Problem[] {
  const { path, schema } = locate(tree, issue.path as Path);
  const value = valueAt(tree.root, path);
  if (phrase(schema) !== undefined) return [wrongValue(tree, path, schema, value)];
  if (issue.code === 'unrecognized_keys')
    return issue.keys.slice(0, limits.problems + 1).map((key) => unknownKey(tree, path, schema, key, value));
  if (schema instanceof z.ZodUnion) return explainChoice(tree, path, schema, value);
  return [wrongValue(tree, path, schema, value)];
}

/** Follows an issue's path down the schema as far as the first leaf: what is inside a leaf is reported as the leaf. */
function locate(tree: SourceTree, path: Path): { path: Path; schema: z.ZodType } {
  let schema = peel(configSchema).schema;
  for (const [depth, part] of path.entries()) {
    if (phrase(schema) !== undefined) return { path: path.slice(0, depth), schema };
    const child = childOf(schema, part, valueAt(tree.root, path.slice(0, depth)));
    if (child === undefined) return { path: path.slice(0, depth), schema };
    schema = peel(child).schema;
  }
  return { path, schema };
}

/** A choice fails as a whole in the validator; ask the branch that was meant. */
function explainChoice(tree: SourceTree, path: Path, schema: z.ZodUnion, value: unknown): Problem[] {
  const branch = branchFor(schema, value);
  const marks = branches(schema).map(markOf);
  if (branch === undefined) {
    const unknown = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.keys(value) : [];
    if (unknown.length > 0)
      return unknown.slice(0, limits.problems + 1).map((key) => unknownKey(tree, path, schema, key, value));
    return [
      at(tree, path, 'value', `${formatPath(path)}: expected a map with ${marks.join(', ')}, got ${show(value)}`),
    ];
  }
  const result = branch.safeParse(value);
  return result.success
    ? []
    : result.error.issues.flatMap((inner) => explain(tree, { ...inner, path: [...path, ...inner.path] }));
}

function unknownKey(tree: SourceTree, path: Path, schema: z.ZodType, key: string, value: unknown): Problem {
  const full = formatPath([...path, key]);
  const known = knownKeys(schema, value);
  const meant = suggestKey(key, known);
  if (meant === full) {
    return at(tree, [...path, key], 'key', `${full} needs one of ${known.join(', ')} beside it`);
  }
  const advice = meant === undefined ? `; known here: ${known.join(', ')}` : `; did you mean "${meant}"?`;
  return at(tree, [...path, key], 'key', `unknown key "${full}"${advice}`);
}

function wrongValue(tree: SourceTree, path: Path, schema: z.ZodType, value: unknown): Problem {
  const name = path.length === 0 ? 'configuration' : formatPath(path);
  const expected = expectation(schema);
  if (value === undefined) return at(tree, path, 'value', `${name} is missing: expected ${expected}`);
  const meant =
    schema instanceof z.ZodEnum && typeof value === 'string' ? nearest(value, schema.options.map(String)) : undefined;
  const advice = meant === undefined ? '' : `; did you mean "${meant}"?`;
  return at(tree, path, 'value', `${name}: expected ${expected}, got ${show(value)}${advice}`);
}

function expectation(schema: z.ZodType): string {
  if (schema instanceof z.ZodArray) return 'a list';
  if (schema instanceof z.ZodObject) return `a map with ${Object.keys(schema.shape).slice(0, 3).join(', ')}, ...`;
  return phrase(schema) ?? 'another kind of value';
}

const at = (tree: SourceTree, path: Path, of: 'key' | 'value', message: string): Problem => ({
  place: placeOf(tree, path, of),
  message,
});

/** A value as it would be written, cut to a readable length. */
function show(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
