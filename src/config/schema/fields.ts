import { z } from 'zod';
import { isTierraError } from '../../core/errors.ts';
import { parseBytes } from '../../core/units.ts';

/**
 * Field types of the configuration. Each carries `type`, the phrase that names it both in error messages
 * ("expected integer >= 1") and in the generated documentation, so the two never drift apart.
 */
declare module 'zod' {
  interface GlobalMeta {
    /** What a value of this field is, as a phrase. A field with a phrase is a leaf: it is reported as a whole. */
    type?: string;
  }
}

interface Range {
  readonly min?: number;
  readonly max?: number;
  /** Exclusive bounds. */
  readonly above?: number;
  readonly below?: number;
}

function rangeText({ min, max, above, below }: Range): string {
  const low = min !== undefined ? `>= ${min}` : above !== undefined ? `> ${above}` : '';
  const high = max !== undefined ? `<= ${max}` : below !== undefined ? `< ${below}` : '';
  return [low, high].filter((part) => part !== '').join(' and ');
}

function within<Schema extends z.ZodNumber>(schema: Schema, noun: string, range: Range): Schema {
  let bounded = schema;
  if (range.min !== undefined) bounded = bounded.min(range.min);
  if (range.max !== undefined) bounded = bounded.max(range.max);
  if (range.above !== undefined) bounded = bounded.gt(range.above);
  if (range.below !== undefined) bounded = bounded.lt(range.below);
  return bounded.meta({ type: `${noun} ${rangeText(range)}`.trim() });
}

/** A safe integer. */
export const integer = (range: Range = {}) => within(z.int(), 'integer', range);

/** A finite number. */
export const real = (range: Range = {}) => within(z.number(), 'number', range);

export const fraction = () => real({ min: 0, max: 1 });

export const bool = () => z.boolean().meta({ type: 'true or false' });

/** A string that is not empty; `what` names its meaning in messages. */
export const text = (what = 'text') => z.string().min(1).meta({ type: what });

export const oneOf = <const Values extends readonly [string, ...string[]]>(values: Values) =>
  z.enum(values).meta({ type: values.join(' | ') });

/** The field, or `null` with the meaning that its description gives. */
export const orNull = <Schema extends z.ZodType>(schema: Schema) =>
  z.nullable(schema).meta({ type: `${phraseOf(schema)}, or null` });

/** The word, or a value of the field. */
export const orWord = <const Word extends string, Schema extends z.ZodType>(word: Word, schema: Schema) =>
  z.union([z.literal(word), schema]).meta({ type: `${word}, or ${phraseOf(schema)}` });

/** A byte count: `8GiB`, `500MB` or a plain number. Resolves to a number of bytes. */
export const bytes = () =>
  z
    .union([z.string(), z.number()])
    .transform((value, context) => {
      try {
        return parseBytes(value);
      } catch (error) {
        if (!isTierraError(error)) throw error;
        context.issues.push({ code: 'custom', message: error.message, input: value });
        return z.NEVER;
      }
    })
    .meta({ type: 'a size such as 8GiB or 500MB' });

/** One path or several; resolves to a list. */
export const pathList = (what: string) =>
  z
    .union([z.string().min(1), z.array(z.string().min(1))])
    .transform((value): string[] => (typeof value === 'string' ? [value] : value))
    .meta({ type: what });

/** Any JSON object: its keys belong to someone else's format. */
export const freeForm = (what: string) => z.record(z.string(), z.unknown()).meta({ type: what });

export function phraseOf(schema: z.ZodType): string {
  return schema.meta()?.type ?? 'value';
}
