/**
 * Our TypeScript as JavaScript, for the processes that tests start. `build/compiled` mirrors the tree, so that a child starts as an
 * installed Tierra does, in half the time that it takes under tsx, and its worker threads need no loader either.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const mirror = path.join(root, 'build/compiled');
/** What the mirror has from the tree as it is: the version, the addon, files that tests read. */
const links = ['package.json', 'build', 'native', 'scripts', 'test/goldens'];
let isFresh = false;

/** The JavaScript of `file`, a TypeScript file of ours; a relative path is one in the repository. */
export function compiled(file: string): string {
  if (!isFresh) freshen();
  isFresh = true;
  return path.join(mirror, path.relative(root, path.resolve(root, file)).replace(/\.ts$/, '.js'));
}

/** What starts `file` in a process of its own; errors there name lines of the source. */
export const program = (file: string): string[] => [process.execPath, '--enable-source-maps', compiled(file)];

function freshen(): void {
  const stale = ['src', 'test', 'examples'].flatMap(sourcesIn).filter(({ made, mtimeMs }) => mtimeOf(made) !== mtimeMs);
  if (stale.length > 0) compile(stale);
  for (const link of links) {
    const at = path.join(mirror, link);
    mkdirSync(path.dirname(at), { recursive: true });
    if (!existsSync(at)) placed(at, (mine) => symlinkSync(path.join(root, link), mine));
  }
}

interface Source {
  readonly file: string;
  readonly made: string;
  readonly mtimeMs: number;
}

function sourcesIn(folder: string): Source[] {
  return readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /(?<!\.test|\.d)\.ts$/.test(name))
    .map((name) => {
      const file = path.join(root, folder, name);
      const made = path.join(mirror, folder, name.replace(/\.ts$/, '.js'));
      return { file, made, mtimeMs: Math.floor(statSync(file).mtimeMs) };
    });
}

const mtimeOf = (file: string): number | undefined => {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat && Math.round(stat.mtimeMs);
};

/** File by file: nothing is bundled, so a module is one module however it is reached. esbuild comes with tsx. */
function compile(sources: readonly Source[]): void {
  const { buildSync } = createRequire(import.meta.url)('esbuild') as typeof import('esbuild');
  const { outputFiles } = buildSync({
    entryPoints: sources.map(({ file }) => file),
    outdir: mirror,
    outbase: root,
    format: 'esm',
    target: 'node20',
    sourcemap: 'inline',
    sourcesContent: false,
    write: false,
  });
  const texts = new Map(outputFiles.map(({ path: made, text }) => [made, text]));
  for (const { made, mtimeMs } of sources) {
    // Relative imports name their file here; esbuild leaves them as they are.
    const text = texts.get(made)!.replace(/(\b(?:from|import)\s*\(?\s*["']\.{1,2}\/[^"']+)\.ts(["'])/g, '$1.js$2');
    mkdirSync(path.dirname(made), { recursive: true });
    placed(made, (mine) => {
      writeFileSync(mine, text);
      utimesSync(mine, mtimeMs / 1e3, mtimeMs / 1e3);
    });
  }
}

/** Several test files may do this at once: each makes its own, and moves it into place whole. */
function placed(at: string, make: (mine: string) => void): void {
  const mine = `${at}.${process.pid}`;
  make(mine);
  renameSync(mine, at);
}
