import { TierraError } from '../../core/errors.ts';

/** A number with a fraction or an exponent, kept apart so that no one takes `1.0` or `1e3` for an integer. */
export interface JsonReal {
  readonly real: string;
}

/** Objects are Maps: no name (`__proto__`, `constructor`) has a meaning of its own. Integers past 2^53 are bigints. */
export type Json = null | boolean | string | number | bigint | JsonReal | readonly Json[] | JsonObject;
export type JsonObject = ReadonlyMap<string, Json>;

export interface JsonLimits {
  readonly maxDepth: number;
  readonly maxArrayLength: number;
  readonly maxKeys: number;
}

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const literal = /true|false|null/y;

/**
 * JSON as RFC 8259 writes it, refusing what `JSON.parse` lets pass: a key given twice (it silently keeps the last),
 * unpaired surrogates, and anything past `limits`. `what` names the text in `E_CORRUPT` messages.
 */
export function parseStrictJson(text: string, what: string, limits: JsonLimits): Json {
  let at = 0;
  let keys = 0;

  const fail = (reason: string, where = at): never => {
    throw new TierraError('E_CORRUPT', `${what}: ${reason} (at character ${where} of ${text.length})`, {
      hint: 'The file is damaged or was not written by a safetensors writer: fetch it again.',
      details: { position: where },
    });
  };
  const found = (): string => (at < text.length ? JSON.stringify(text[at]) : 'the end');
  /** The token that `pattern` finds here, taken; headers of 10^5 tensors pass through this, so no match objects. */
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    if (!pattern.test(text)) return undefined;
    const token = text.slice(at, pattern.lastIndex);
    at = pattern.lastIndex;
    return token;
  };
  const skipSpace = (): void => {
    for (;;) {
      const code = text.charCodeAt(at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      at += 1;
    }
  };
  const expect = (character: string): void => {
    skipSpace();
    if (text[at] !== character) fail(`not valid JSON: expected ${JSON.stringify(character)}, found ${found()}`);
    at += 1;
  };

  const bad = (wanted: string): string => `not valid JSON: expected ${wanted}, found ${found()}`;
  // By hand: a regular expression with escapes runs out of stack on a hostile string of some megabytes.
  const string = (): string => {
    if (text[at] !== '"') fail(bad('a string'));
    const start = at;
    let escaped = false;
    let end = start + 1;
    for (let code = text.charCodeAt(end); code !== 0x22; code = text.charCodeAt(end)) {
      if (!(code >= 0x20))
        fail(end < text.length ? 'not valid JSON: a string holds a control character' : unclosed, start);
      escaped ||= code === 0x5c;
      end += code === 0x5c ? 2 : 1;
    }
    at = end + 1;
    return escaped ? decodeString(start) : text.slice(start + 1, end);
  };
  const unclosed = 'not valid JSON: a string is not closed';
  const decodeString = (start: number): string => {
    try {
      const value = JSON.parse(text.slice(start, at)) as string;
      if (!/\p{Surrogate}/u.test(value)) return value;
    } catch {
      return fail('not valid JSON: a string holds a bad escape', start);
    }
    return fail('a string holds an unpaired surrogate', start);
  };

  const object = (depth: number): JsonObject => {
    const members = new Map<string, Json>();
    expect('{');
    skipSpace();
    if (text[at] === '}') {
      at += 1;
      return members;
    }
    for (;;) {
      skipSpace();
      const start = at;
      const key = string();
      if (members.has(key)) fail(`the key ${showName(key)} appears twice`, start);
      keys += 1;
      if (keys > limits.maxKeys) fail(`more than ${limits.maxKeys} keys`, start);
      expect(':');
      members.set(key, value(depth));
      skipSpace();
      if (text[at] !== ',') break;
      at += 1;
    }
    expect('}');
    return members;
  };

  const array = (depth: number): readonly Json[] => {
    const items: Json[] = [];
    expect('[');
    skipSpace();
    if (text[at] === ']') {
      at += 1;
      return items;
    }
    for (;;) {
      if (items.length === limits.maxArrayLength) fail(`a list with more than ${limits.maxArrayLength} items`);
      items.push(value(depth));
      skipSpace();
      if (text[at] !== ',') break;
      at += 1;
    }
    expect(']');
    return items;
  };

  const value = (depth: number): Json => {
    skipSpace();
    const first = text[at];
    if (first === '{' || first === '[') {
      if (depth === limits.maxDepth) fail(`nested deeper than ${limits.maxDepth} levels`);
      return first === '{' ? object(depth + 1) : array(depth + 1);
    }
    if (first === '"') return string();
    const digits = take(number);
    if (digits !== undefined) return integerOrReal(digits);
    const word = take(literal);
    if (word === undefined) return fail(bad('a value'));
    return word === 'null' ? null : word === 'true';
  };

  const result = value(0);
  skipSpace();
  if (at < text.length) fail(`not valid JSON: expected the end, found ${found()}`);
  return result;
}

function integerOrReal(token: string): number | bigint | JsonReal {
  if (/[.eE]/.test(token) || token === '-0' || token.length > 40) return { real: token.slice(0, 40) };
  const value = Number(token);
  return Number.isSafeInteger(value) ? value : BigInt(token);
}

/** A JSON value as it should appear in a message: short, on one line. */
export function showJson(value: Json | undefined): string {
  const text = render(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function render(value: Json | undefined): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Map) return `{${[...value.keys()].slice(0, 4).join(', ')}}`;
  if (Array.isArray(value)) return `[${value.slice(0, 16).map(render).join(', ')}]`;
  if (typeof value === 'object' && value !== null) return (value as JsonReal).real;
  return JSON.stringify(value);
}

/** A name from a file as it may appear in a message: quoted, escaped and never longer than a line. */
export function showName(name: string): string {
  return JSON.stringify(name.length > 120 ? `${name.slice(0, 117)}...` : name);
}
