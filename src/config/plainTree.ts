import { limits } from './limits.ts';
import { type Problem, problemsError } from './problems.ts';
import { emptyTree, formatPath, isForbiddenKey, isPlainObject, type Path, type SourceTree } from './tree.ts';

/**
 * Copies a value given by a program, so that what is validated is what is used and later changes by the caller have
 * no effect. Throws `E_CONFIG` for anything that JSON could not hold. A field that is `undefined` counts as not given.
 */
export function copyPlain(input: unknown, source: string): SourceTree {
  const tree = emptyTree();
  const problems: Problem[] = [];
  const reject = (path: Path, message: string): void => {
    problems.push({ message: `${path.length === 0 ? source : formatPath(path)}: ${message}` });
  };
  let values = 0;

  const copy = (value: unknown, path: Path): unknown => {
    values += 1;
    if (values > limits.values)
      throw problemsError(source, [{ message: `${source}: more than ${limits.values} values` }]);
    if (path.length > limits.depth) {
      throw problemsError(source, [
        { message: `${source}: nested deeper than ${limits.depth} levels, or in a circle` },
      ]);
    }
    if (Array.isArray(value)) return value.map((item: unknown, index) => copy(item, [...path, index]));
    if (isPlainObject(value)) {
      const object: Record<string, unknown> = {};
      for (const [key, item] of Object.entries(value)) {
        if (item === undefined) continue;
        if (isForbiddenKey(key)) reject([...path, key], 'not allowed as a key');
        else object[key] = copy(item, [...path, key]);
      }
      return object;
    }
    if (value === null || ['string', 'number', 'boolean'].includes(typeof value)) return value;
    reject(path, `expected plain data, got ${value instanceof Object ? value.constructor.name : typeof value}`);
    return null;
  };

  const root = copy(input, []);
  if (isPlainObject(root)) Object.assign(tree.root, root);
  else if (problems.length === 0) reject([], 'a configuration is an object of sections');
  if (problems.length > 0) throw problemsError(source, problems);
  return tree;
}
