import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { limits } from './limits.ts';
import { type Problem, problemsError } from './problems.ts';
import {
  emptyTree,
  formatPath,
  formatPlace,
  isForbiddenKey,
  isPlainObject,
  type Path,
  type Place,
  pathKey,
  type SourceTree,
} from './tree.ts';

/**
 * Parses YAML 1.2 (core schema) into plain values with their places.
 * Throws `E_CONFIG` for syntax, duplicate or forbidden keys, unknown tags and anything beyond the limits,
 * all problems at once as far as the text can be read.
 */
export function parseYaml(text: string, source: string): SourceTree {
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { source, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  if (Buffer.byteLength(text) > limits.fileBytes) {
    throw problemsError(source, [
      {
        place: { source },
        message: `the file has ${Buffer.byteLength(text)} bytes, a configuration may have ${limits.fileBytes}`,
      },
    ]);
  }
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    lineCounter: lines,
    prettyErrors: false,
    // The library compares each key with all before it, minutes for a long file; `read` looks them up instead.
    uniqueKeys: false,
    logLevel: 'error',
  });
  const syntax: Problem[] = [...document.errors, ...document.warnings].map((error) => ({
    place: placeAt(error.pos[0]),
    message: `not valid YAML: ${error.message.includes('call stack') ? 'nested too deeply' : error.message}`,
  }));
  if (document.directives?.yaml.explicit && document.directives.yaml.version !== '1.2') {
    syntax.push({ place: placeAt(0), message: `YAML ${document.directives.yaml.version} is not read, only 1.2` });
  }
  if (syntax.length > 0) throw problemsError(source, syntax);

  const tree = emptyTree();
  const problems: Problem[] = [];
  let values = 0;
  // `Alias.resolve` of the library visits the whole document each time.
  const anchors = new Map<string, Node>();
  const fail = (offset: number, message: string): never => {
    throw problemsError(source, [...problems, { place: placeAt(offset), message }]);
  };

  const read = (node: Node | null, path: Path, offset: number): unknown => {
    values += 1;
    if (values > limits.values) fail(offset, `more than ${limits.values} values once aliases are expanded`);
    if (path.length > limits.depth) fail(offset, `nested deeper than ${limits.depth} levels`);
    if (path.length > 0) tree.valuePlaces.set(pathKey(path), placeAt(offset));
    if (isAlias(node)) {
      const target = anchors.get(node.source) ?? fail(offset, `unknown alias *${node.source}`);
      return read(target, path, offset);
    }
    if (isNode(node) && node.anchor !== undefined) {
      const earlier = anchors.get(node.anchor);
      if (earlier !== undefined && earlier !== node) fail(offset, `the anchor &${node.anchor} is given twice`);
      anchors.set(node.anchor, node);
    }
    if (isSeq(node)) {
      return node.items.map((item, index) => read(item as Node | null, [...path, index], offsetOf(item, offset)));
    }
    if (isMap(node)) {
      const object: Record<string, unknown> = {};
      for (const { key, value } of node.items) {
        const keyOffset = offsetOf(key, offset);
        if (!isScalar(key)) {
          problems.push({ place: placeAt(keyOffset), message: 'a key must be plain text' });
          continue;
        }
        const name = String(key.value);
        const inner = [...path, name];
        if (isForbiddenKey(name)) {
          problems.push({ place: placeAt(keyOffset), message: `"${formatPath(inner)}" is not allowed as a key` });
          continue;
        }
        if (Object.hasOwn(object, name)) {
          const first = tree.keyPlaces.get(pathKey(inner));
          const where = first === undefined ? '' : `, first at ${formatPlace(first)}`;
          problems.push({ place: placeAt(keyOffset), message: `"${formatPath(inner)}" is given twice${where}` });
          continue;
        }
        tree.keyPlaces.set(pathKey(inner), placeAt(keyOffset));
        object[name] = read(value as Node | null, inner, offsetOf(value, keyOffset));
      }
      return object;
    }
    return isScalar(node) ? node.value : null;
  };

  const root = read(document.contents, [], 0) ?? {};
  if (!isPlainObject(root)) {
    problems.push({ place: placeAt(offsetOf(document.contents, 0)), message: 'a configuration is a map of sections' });
  } else {
    Object.assign(tree.root, root);
  }
  if (problems.length > 0) throw problemsError(source, problems);
  return tree;
}

function offsetOf(node: unknown, fallback: number): number {
  return (node as Node | null)?.range?.[0] ?? fallback;
}
