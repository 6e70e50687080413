/** Where a value was written. `line` and `column` count from 1 and are missing for values that came from no file. */
export interface Place {
  /** A file's path, or the override as typed. */
  readonly source: string;
  readonly line?: number;
  readonly column?: number;
}

export type Path = readonly (string | number)[];

export type PlainObject = { [key: string]: unknown };

/** Plain values before validation, with the place of each. */
export interface SourceTree {
  readonly root: PlainObject;
  /** Places of keys and list items, by `pathKey`. */
  readonly keyPlaces: Map<string, Place>;
  readonly valuePlaces: Map<string, Place>;
}

export const emptyTree = (): SourceTree => ({ root: {}, keyPlaces: new Map(), valuePlaces: new Map() });

/** Names that reach an object's prototype: never a key here. */
export const isForbiddenKey = (key: string): boolean =>
  key === '__proto__' || key === 'constructor' || key === 'prototype';

export const pathKey = (path: Path): string => JSON.stringify(path.map(String));

/** `optimizer.groups[0].match` */
export function formatPath(path: Path): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else text += text === '' ? part : `.${part}`;
  }
  return text;
}

/** `run.yaml:3:5`, or the override as typed. */
export function formatPlace(place: Place): string {
  if (place.line === undefined) return place.source;
  return `${place.source}:${place.line}:${place.column ?? 1}`;
}

export function isPlainObject(value: unknown): value is PlainObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** The value at `path`, or undefined where the path ends early. */
export function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const part of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<string | number, unknown>)[part];
  }
  return value;
}

/** The place of the value at `path`, or of the nearest value around it. */
export function placeOf(tree: SourceTree, path: Path, of: 'key' | 'value'): Place | undefined {
  for (let length = path.length; length > 0; length--) {
    const key = pathKey(path.slice(0, length));
    const exact = length === path.length && of === 'key' ? tree.keyPlaces.get(key) : undefined;
    const place = exact ?? tree.valuePlaces.get(key);
    if (place !== undefined) return place;
  }
  return undefined;
}
