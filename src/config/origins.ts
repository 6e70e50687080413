import { isOverride } from './overrides.ts';
import { isPlainObject, type Path, type Place, placeOf, type SourceTree } from './tree.ts';

/** One resolved value and who set it. */
export interface Origin {
  /** Dotted path of the field. */
  readonly path: string;
  readonly value: unknown;
  /** `default`, `file:line`, the flag (`--set`), or `program` for values given by code. */
  readonly origin: string;
}

/** Maps with keys of someone else's format: shown as one value. */
const whole = new Set(['model.overrides', 'model.config']);

/** One entry per leaf of the resolved configuration, in its order; lists count as leaves. */
export function originsOf(config: object, tree: SourceTree): Origin[] {
  const origins: Origin[] = [];
  const visit = (value: unknown, path: readonly string[]): void => {
    const name = path.join('.');
    if (isPlainObject(value) && !whole.has(name) && path.length < 4) {
      for (const [key, inner] of Object.entries(value)) visit(inner, [...path, key]);
    } else {
      origins.push({ path: name, value, origin: originOf(tree, path) });
    }
  };
  visit(config, []);
  return origins;
}

/** Written under another key than the one it resolves to. */
const aliases: Readonly<Record<string, Path>> = { 'memory.nvme.paths': ['memory', 'nvme', 'path'] };

function originOf(tree: SourceTree, path: Path): string {
  const alias = aliases[path.join('.')];
  const places = [path, ...(alias === undefined ? [] : [alias])].filter((candidate) => isGiven(tree, candidate));
  if (places[0] === undefined) return 'default';
  const place = placeOf(tree, places[0], 'value');
  return place === undefined ? 'program' : describe(place);
}

function isGiven(tree: SourceTree, path: Path): boolean {
  let value: unknown = tree.root;
  for (const part of path) {
    if (!isPlainObject(value) || !Object.hasOwn(value, part)) return false;
    value = value[part];
  }
  return true;
}

const describe = (place: Place): string => {
  if (isOverride(place)) return place.source.split(' ', 1)[0]!;
  return place.line === undefined ? place.source : `${place.source}:${place.line}`;
};
