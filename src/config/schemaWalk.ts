import { z } from 'zod';
import { isPlainObject } from './tree.ts';

/** What stands at a place of the schema, with defaults, null and transforms peeled off. */
export interface SchemaNode {
  /** The first schema found that is a leaf (has a phrase), an object, a list or a choice. */
  readonly schema: z.ZodType;
  readonly nullable: boolean;
  /** The default, or undefined when a value must be given. */
  readonly defaultValue: unknown;
  readonly description: string;
}

/** Peels wrappers from a schema, collecting what they say. */
export function peel(schema: z.ZodType): SchemaNode {
  let inner = schema;
  let nullable = false;
  let defaultValue: unknown;
  let description = '';
  for (;;) {
    const meta = inner.meta();
    if (description === '') description = meta?.description ?? '';
    if (inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
      defaultValue ??= inner.def.defaultValue;
      if (inner.def.defaultValue === null) defaultValue = null;
    } else if (inner instanceof z.ZodNullable && meta?.type === undefined) {
      nullable = true;
    } else if (inner instanceof z.ZodPipe && meta?.type === undefined) {
      inner = inner.def.in as z.ZodType;
      continue;
    } else {
      return { schema: inner, nullable, defaultValue, description };
    }
    inner = inner.def.innerType as z.ZodType;
  }
}

/** The phrase of a leaf, or undefined for sections, lists and choices. */
export const phrase = (schema: z.ZodType): string | undefined => schema.meta()?.type;

/** The branch of a choice that the value's keys point to: its first field is what marks it. */
export function branchFor(schema: z.ZodUnion, value: unknown): z.ZodObject | undefined {
  return branches(schema).find((branch) => isPlainObject(value) && Object.hasOwn(value, markOf(branch)));
}

export const branches = (schema: z.ZodUnion): z.ZodObject[] =>
  schema.def.options.filter((option): option is z.ZodObject => option instanceof z.ZodObject);

export const markOf = (branch: z.ZodObject): string => Object.keys(branch.shape)[0]!;

/** The known keys at a section or choice. */
export function knownKeys(schema: z.ZodType, value: unknown): string[] {
  if (schema instanceof z.ZodObject) return Object.keys(schema.shape);
  if (!(schema instanceof z.ZodUnion)) return [];
  const branch = branchFor(schema, value);
  return branch === undefined ? branches(schema).map(markOf) : Object.keys(branch.shape);
}

/** The schema one step below, or undefined when the step leads out of it. */
export function childOf(schema: z.ZodType, part: string | number, value: unknown): z.ZodType | undefined {
  if (schema instanceof z.ZodArray) return schema.def.element as z.ZodType;
  const object = schema instanceof z.ZodUnion ? branchFor(schema, value) : schema;
  return object instanceof z.ZodObject ? (object.shape as Record<string, z.ZodType>)[part] : undefined;
}

/** Visits every named field of the schema in order of declaration, lists under `name[]`. */
export function* fields(
  schema: z.ZodType,
  path: readonly string[] = [],
): Generator<{ path: string[]; node: SchemaNode }> {
  const node = peel(schema);
  if (path.length > 0) yield { path: [...path], node };
  if (phrase(node.schema) !== undefined) return;
  if (node.schema instanceof z.ZodArray) {
    const element = peel(node.schema.def.element as z.ZodType).schema;
    const last = `${path.at(-1)}[]`;
    if (element instanceof z.ZodObject) yield* below(element, [...path.slice(0, -1), last]);
  } else if (node.schema instanceof z.ZodObject) {
    yield* below(node.schema, path);
  } else if (node.schema instanceof z.ZodUnion) {
    for (const branch of branches(node.schema)) yield* below(branch, path);
  }
}

function* below(object: z.ZodObject, path: readonly string[]): Generator<{ path: string[]; node: SchemaNode }> {
  for (const [key, child] of Object.entries(object.shape as Record<string, z.ZodType>))
    yield* fields(child, [...path, key]);
}
