import { check } from '../../core/errors.ts';

/** What survives JSON unchanged: no NaN, no infinities, no undefined, no -0. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** Throws `E_ARGUMENT` naming the first place where JSON would silently write something else. */
export function checkJson(value: unknown, where: string): asserts value is JsonValue {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return;
  if (typeof value === 'number') {
    check(
      Number.isFinite(value) && !Object.is(value, -0),
      `${where}: JSON cannot hold ${Object.is(value, -0) ? '-0' : value}`,
      {
        hint: 'Store such a number as text, for example as a hexadecimal float.',
      },
    );
    return;
  }
  if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) checkJson(item, `${where}[${i}]`);
    return;
  }
  const prototype: unknown = typeof value === 'object' ? Object.getPrototypeOf(value) : undefined;
  check(prototype === Object.prototype || prototype === null, `${where}: JSON cannot hold ${describe(value)}`, {
    hint: 'Manifest fields are plain values: numbers, text, booleans, null, lists and plain objects.',
  });
  for (const [key, item] of Object.entries(value as object)) checkJson(item, `${where}.${key}`);
}

function describe(value: unknown): string {
  if (typeof value !== 'object') return typeof value;
  return (value as object).constructor?.name ?? 'this object';
}
