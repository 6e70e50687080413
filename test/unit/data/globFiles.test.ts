import { symlinkSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { globFiles } from '../../../src/data/index.ts';
import { folderWith } from './helpers.ts';

const tree = {
  'a.txt': '',
  'b.md': '',
  'c1.txt': '',
  'c22.txt': '',
  '.hidden.txt': '',
  'sub/a.txt': '',
  'sub/deep/er/x.d.ts': '',
  'sub/deep/y.ts': '',
  '.git/z.txt': '',
  'odd {name}.txt': '',
  'plus+(1).txt': '',
};

const match = (root: string, patterns: string | string[]): string[] =>
  globFiles(patterns, root).map((file) => path.relative(root, file));

describe('patterns', () => {
  test.each<[string, string[]]>([
    ['a.txt', ['a.txt']],
    ['*.txt', ['a.txt', 'c1.txt', 'c22.txt', 'odd {name}.txt', 'plus+(1).txt']],
    ['c?.txt', ['c1.txt']],
    ['{a,b}.{txt,md}', ['a.txt', 'b.md']],
    ['{sub/{a,deep/y},b}.{txt,ts,md}', ['b.md', 'sub/a.txt', 'sub/deep/y.ts']],
    ['**/*.ts', ['sub/deep/er/x.d.ts', 'sub/deep/y.ts']],
    ['sub/**/x.d.ts', ['sub/deep/er/x.d.ts']],
    ['sub/**/a.txt', ['sub/a.txt']],
    ['**/deep/**', ['sub/deep/er/x.d.ts', 'sub/deep/y.ts']],
    ['*/deep/*.ts', ['sub/deep/y.ts']],
    ['.*.txt', ['.hidden.txt']],
    ['.git/*', ['.git/z.txt']],
    ['odd {name}.txt', ['odd {name}.txt']],
    ['plus+(?).txt', ['plus+(1).txt']],
    ['./sub/../a.*', ['a.txt']],
  ])('%s', (pattern, expected) => {
    expect(match(folderWith(tree), pattern)).toEqual(expected);
  });

  test('several patterns keep their order and name each file once', () => {
    expect(match(folderWith(tree), ['sub/*.txt', '**/a.txt', 'b.md'])).toEqual(['sub/a.txt', 'a.txt', 'b.md']);
  });

  test('absolute patterns do not depend on the root', () => {
    const root = folderWith(tree);
    expect(globFiles(path.join(root, '*.md'), '/')).toEqual([path.join(root, 'b.md')]);
  });

  test('** with a name finds what a plain recursive search finds', () => {
    const name = fc.constantFrom('a', 'b', 'c.x', 'd.x');
    fc.assert(
      fc.property(
        fc.uniqueArray(
          fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => `${parts.join('/')}.f`),
          { minLength: 1, maxLength: 8 },
        ),
        (files) => {
          const root = folderWith(Object.fromEntries(files.map((file) => [file, ''])));
          expect(match(root, '**/*.f')).toEqual([...files].sort());
          const wanted = files.filter((file) => /(^|\/)[^/]*\.x\.f$/.test(file)).sort();
          if (wanted.length > 0) expect(match(root, '**/*.x.f')).toEqual(wanted);
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('symbolic links', () => {
  test('loops end, links to files count, folders behind links are entered only by name', () => {
    const root = folderWith({ 'real/a.txt': '', 'real/in/b.txt': '' });
    symlinkSync('..', path.join(root, 'real/in/loop'));
    symlinkSync(path.join(root, 'real/a.txt'), path.join(root, 'link.txt'));
    symlinkSync(path.join(root, 'real'), path.join(root, 'other'));
    symlinkSync('nowhere', path.join(root, 'broken.txt'));
    expect(match(root, '**/*.txt')).toEqual(['link.txt', 'real/a.txt', 'real/in/b.txt']);
    expect(match(root, 'other/*.txt')).toEqual(['other/a.txt']);
    expect(match(root, 'o*/*.txt')).toEqual(['other/a.txt']);
  });
});

describe('mistakes', () => {
  test.each<[string, string, RegExp]>([
    ['missing.txt', 'data files: ROOT/missing.txt does not exist', /^Relative paths are taken from ROOT\.$/],
    ['*.csv', 'data files: no file matches "*.csv" in ROOT', /^Patterns know/],
    ['none/**/*.txt', 'data files: no file matches "none/**/*.txt" in ROOT', /^Patterns know/],
    ['sub', 'data files: ROOT/sub is a folder, a file or a pattern was expected', /write "sub\/\*\*\/\*"\.$/],
  ])('%s', (pattern, message, hint) => {
    const root = folderWith(tree);
    try {
      globFiles(pattern, root);
      expect.unreachable();
    } catch (error) {
      const shown = error as { code: string; message: string; hint: string };
      expect(shown.code).toBe('E_DATA');
      expect(shown.message).toBe(message.replaceAll('ROOT', root));
      expect(shown.hint.replaceAll(root, 'ROOT')).toMatch(hint);
    }
  });
});
