import { type Dirent, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { TierraError } from '../core/errors.ts';

/**
 * Files named by paths and patterns, as absolute paths, each once, sorted by code unit within a pattern.
 * Patterns know `*`, `?`, `{a,b}` and `**` (any number of folders). Names that begin with a dot must be asked for.
 * `**` does not enter symbolic links, so loops cannot happen; links named outright and links to files are followed.
 * @throws E_DATA when a path does not exist, is a folder, or a pattern matches nothing.
 */
export function globFiles(patterns: string | readonly string[], root: string = process.cwd()): string[] {
  const files = new Set<string>();
  for (const pattern of typeof patterns === 'string' ? [patterns] : patterns) {
    for (const file of expand(pattern, root)) files.add(file);
  }
  return [...files];
}

function expand(pattern: string, root: string): string[] {
  const whole = path.resolve(root, pattern);
  const kind = kindOf(whole);
  if (kind === 'file') return [whole];
  if (kind === 'folder') {
    throw new TierraError('E_DATA', `data files: ${whole} is a folder, a file or a pattern was expected`, {
      hint: `To take every file below it, write ${JSON.stringify(path.join(pattern, '**/*'))}.`,
      details: { pattern, path: whole },
    });
  }
  if (!hasMagic(pattern)) {
    throw new TierraError('E_DATA', `data files: ${whole} does not exist`, {
      hint: `Relative paths are taken from ${root}.`,
      details: { pattern, path: whole },
    });
  }
  const found = new Set<string>();
  for (const plain of expandBraces(pattern)) {
    const absolute = path.resolve(root, plain);
    walk(path.parse(absolute).root, absolute.split(path.sep).filter(Boolean), found);
  }
  if (found.size === 0) {
    throw new TierraError('E_DATA', `data files: no file matches ${JSON.stringify(pattern)} in ${root}`, {
      hint: 'Patterns know *, ?, {a,b} and ** (any number of folders); names that begin with a dot must be asked for.',
      details: { pattern, root },
    });
  }
  return [...found].sort();
}

/** Adds the files below `folder` that match the remaining `segments`. */
function walk(folder: string, segments: readonly string[], found: Set<string>): void {
  const [segment, ...rest] = segments;
  if (segment === undefined) return;
  if (segment === '**') {
    walk(folder, rest, found);
    if (rest.length === 0) walk(folder, ['*'], found);
    for (const entry of entriesOf(folder)) {
      if (entry.isDirectory() && !entry.name.startsWith('.')) walk(path.join(folder, entry.name), segments, found);
    }
    return;
  }
  if (!hasMagic(segment)) {
    take(path.join(folder, segment), rest, found);
    return;
  }
  const matcher = segmentMatcher(segment);
  for (const entry of entriesOf(folder)) {
    if (!matcher.test(entry.name)) continue;
    const full = path.join(folder, entry.name);
    if (rest.length === 0 && entry.isFile()) found.add(full);
    else if (rest.length > 0 ? !entry.isFile() : entry.isSymbolicLink()) take(full, rest, found);
  }
}

function take(full: string, rest: readonly string[], found: Set<string>): void {
  const kind = kindOf(full);
  if (rest.length === 0 && kind === 'file') found.add(full);
  if (rest.length > 0 && kind === 'folder') walk(full, rest, found);
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw new TierraError('E_IO', `data files: cannot list ${folder} (${code ?? 'unknown error'})`, { cause: error });
  }
}

function kindOf(full: string): 'file' | 'folder' | null {
  const stat = statSync(full, { throwIfNoEntry: false });
  if (stat === undefined) return null;
  return stat.isDirectory() ? 'folder' : stat.isFile() ? 'file' : null;
}

const hasMagic = (text: string): boolean => /[*?{]/.test(text);

function segmentMatcher(segment: string): RegExp {
  const body = segment
    .replace(/[.+^$()|[\]{}\\]/g, '\\$&')
    .replace(/\*+/g, '.*')
    .replace(/\?/g, '.');
  return new RegExp(`^${segment.startsWith('.') ? '' : '(?!\\.)'}${body}$`, 'su');
}

/** `a{b,c{d,e}}f` to `abf`, `acdf`, `acef`; braces without a comma stay as they are. */
function expandBraces(pattern: string): string[] {
  for (let open = pattern.indexOf('{'); open >= 0; open = pattern.indexOf('{', open + 1)) {
    const parts: string[] = [];
    let depth = 0;
    let start = open + 1;
    for (let at = open; at < pattern.length; at++) {
      const char = pattern[at];
      if (char === '{') depth++;
      if (char === '}') depth--;
      if ((char === ',' && depth === 1) || depth === 0) {
        parts.push(pattern.slice(start, at));
        start = at + 1;
      }
      if (depth > 0) continue;
      if (parts.length < 2) break;
      return parts.flatMap((part) => expandBraces(pattern.slice(0, open) + part + pattern.slice(at + 1)));
    }
  }
  return [pattern];
}
