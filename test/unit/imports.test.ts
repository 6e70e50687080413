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

function wrongImports(): string[] {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  return files.flatMap((file) => {
    const folder = file.split(path.sep)[0]!;
    if (folder === file) return []; // src/index.ts re-exports everything
    const text = readFileSync(path.join(root, file), 'utf8');
    const targets = [...text.matchAll(/from '(\.[^']+)'/g)].map((match) =>
      path.relative(root, path.resolve(root, path.dirname(file), match[1]!)),
    );
    const reach = [folder, 'core', ...(allowed[folder] ?? [])];
    return targets
      .filter((target) => !reach.includes(target.split(path.sep)[0]!))
      .map((target) => `${file} imports ${target}`);
  });
}

it('imports go downward only', () => {
  expect(wrongImports()).toEqual([]);
});
