/** Imports go downward only (docs/inside.md). */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';

/** What each folder of src may import besides itself and `core`. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  core: [],
  native: [],
  tensor: ['native'],
  nn: ['tensor', 'native'],
  memory: ['nn', 'tensor', 'native'],
  offload: ['memory', 'nn', 'tensor', 'native'],
  dist: ['offload', 'memory', 'nn', 'tensor', 'native'],
  models: ['nn', 'tensor', 'native'],
  data: ['nn', 'tensor', 'native'],
  optim: ['nn', 'tensor', 'native'],
  config: ['nn', 'tensor', 'native'],
  telemetry: ['nn', 'tensor', 'native'],
  engine: ['dist', 'offload', 'memory', 'nn', 'tensor', 'native', 'models', 'data', 'optim', 'config', 'telemetry'],
  cli: [
    'engine',
    'dist',
    'offload',
    'memory',
    'nn',
    'tensor',
    'native',
    'models',
    'data',
    'optim',
    'config',
    'telemetry',
  ],
};

const root = path.resolve(import.meta.dirname, '../../src');

/** Files that `file` names, in `src`; `isLoaded`: but those whose types alone it takes. */
function importsOf(file: string, isLoaded = false): string[] {
  const text = readFileSync(path.join(root, file), 'utf8');
  return [...text.matchAll(/(^(?:im|ex)port type\b[^;]*?)?from '(\.[^']+)'/gm)]
    .filter(([, type]) => !isLoaded || type === undefined)
    .map(([, , target]) => path.relative(root, path.resolve(root, path.dirname(file), target!)));
}

function wrongImports(): string[] {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  return files.flatMap((file) => {
    const folder = file.split(path.sep)[0]!;
    if (folder === file) return []; // src/index.ts re-exports everything
    const targets = importsOf(file);
    const reach = [folder, 'core', ...(allowed[folder] ?? [])];
    return targets
      .filter((target) => !reach.includes(target.split(path.sep)[0]!))
      .map((target) => `${file} imports ${target}`);
  });
}

it('imports go downward only', () => {
  expect(wrongImports()).toEqual([]);
});

it('a command that reads no configuration does not load the schema, which takes longer than all else', () => {
  const loaded = new Set(['cli/main.ts']);
  for (const file of loaded) for (const target of importsOf(file, true)) loaded.add(target);
  expect(loaded.size).toBeGreaterThan(50);
  expect([...loaded].filter((file) => file.startsWith('config'))).toEqual([]);
});
