import { mkdirSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ConfigInput, loadConfig, resolveConfig } from '../../../src/config/index.ts';
import { isTierraError } from '../../../src/core/errors.ts';
import { failure, refuse, useWorkingFolder, write } from './files.ts';

useWorkingFolder();

test.each([
  ['train:\n  steps: [1\ndata: {', /^E_CONFIG run\.yaml.*not valid YAML/s],
  ['train:\n\tsteps: 1', /run\.yaml:2:\d+: not valid YAML: .*[Tt]ab/],
  ['seed: 1\nseed: 2', /run\.yaml:2:1: "seed" is given twice, first at run\.yaml:1:1/],
  ['seed: 1\n---\nseed: 2', /not valid YAML: .*multiple documents/],
  ['seed: !!js/function "x"', /run\.yaml:1:7: not valid YAML: .*tag/],
  ['%YAML 1.1\n---\ndata: { shuffle: yes }', /YAML 1\.1 is not read/],
  ['seed: *nothing', /run\.yaml:1:7: unknown alias \*nothing/],
  ['seed: *later\ndata: { field: &later x }', /run\.yaml:1:7: unknown alias \*later/],
  ['name: &a x\ndata: { field: &a y }', /run\.yaml:2:\d+: the anchor &a is given twice/],
  ['? [1, 2]\n: 3', /a key must be plain text/],
  ['- 1\n- 2', /run\.yaml:1:1: a configuration is a map of sections/],
  ['just text', /a configuration is a map of sections/],
  ['<<: { seed: 1 }', /unknown key "<<"/],
])('refused: %s', (text, message) => {
  expect(refuse(text)).toMatch(message);
});

test('YAML 1.2: yes and no are text, octal-looking numbers are decimal', () => {
  const config = loadConfig(write('run.yaml', 'name: yes\nseed: 010\ndata: { field: no }\n'));
  expect(config).toMatchObject({ name: 'yes', seed: 10, data: { field: 'no' } });
});

test('an empty file is a configuration of defaults', () => {
  expect(loadConfig(write('run.yaml', ''))).toEqual(resolveConfig({}));
  expect(loadConfig(write('run.yaml', '# nothing\n'))).toEqual(resolveConfig({}));
  expect(loadConfig(write('run.yaml', 'train:\n  # steps: 3\ndata:\n'))).toEqual(resolveConfig({}));
});

test('aliases work, and a bomb of them is stopped', () => {
  const shared = 'data:\n  train: &files [a.txt]\n  validation: *files\n';
  expect(loadConfig(write('run.yaml', shared)).data.validation).toEqual(['a.txt']);
  const levels = Array.from(
    { length: 12 },
    (_, i) => `  l${i + 1}: &l${i + 1} [${Array(10).fill(`*l${i}`).join(', ')}]`,
  );
  expect(refuse(`model:\n  l0: &l0 [x]\n${levels.join('\n')}\n`)).toMatch(/more than 20000 values once aliases/);
  expect(refuse('model: &m { preset: *m }')).toMatch(/nested deeper than 32 levels/);
});

test('too large, too deep, not text', () => {
  expect(refuse(`# ${'x'.repeat(2 ** 18)}\n`)).toMatch(/^E_IO .*has 26214\d bytes, more than 262144/);
  expect(refuse(`model: ${'['.repeat(40)}${']'.repeat(40)}`)).toContain('nested deeper than 32 levels');
  expect(refuse(`model: ${'{a: '.repeat(5000)}1${'}'.repeat(5000)}`)).toMatch(/^E_CONFIG .*nested too deeply/s);
});

test('no more problems than anyone reads, and no longer than it takes to read them', () => {
  const keys = Array.from({ length: 15_000 }, (_, i) => `unknown${i}: 1`).join('\n');
  const lines = refuse(keys).split('\n');
  expect(lines[0]).toBe('E_CONFIG run.yaml: more than 50 problems');
  expect(lines).toHaveLength(52);
});

test('files that are not there or no files', () => {
  expect(failure(() => loadConfig('missing.yaml'))).toBe(
    'E_IO cannot read the configuration missing.yaml: there is no such file',
  );
  mkdirSync('folder.yaml');
  expect(failure(() => loadConfig('folder.yaml'))).toContain('it is not a file');
});

test('no way to a prototype', () => {
  for (const key of ['__proto__', 'constructor', 'prototype']) {
    expect(refuse(`${key}: { polluted: 1 }`)).toContain(`"${key}" is not allowed as a key`);
    expect(refuse(`model:\n  preset: x\n  overrides: { ${key}: { polluted: 1 } }`)).toMatch(
      /run\.yaml:3:16: .*not allowed/,
    );
    expect(refuse('', [`${key}.polluted=1`])).toContain(`"${key}" is not allowed as a key`);
    expect(refuse('', [`model.overrides.${key}.polluted=1`])).toContain('not allowed as a key');
    expect(refuse('', [`model={preset: x, overrides: {${key}: 1}}`])).toContain('not valid');
  }
  const parsed = JSON.parse('{"model": {"preset": "x", "overrides": {"__proto__": {"polluted": 1}}}}') as ConfigInput;
  expect(failure(() => resolveConfig(parsed))).toContain('model.overrides.__proto__: not allowed as a key');
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

test('whatever is given, the answer is a configuration or an error of the family', () => {
  fc.assert(
    fc.property(
      fc.jsonValue({ maxDepth: 4 }),
      fc.constantFrom('model', 'data', 'train', 'memory', 'optimizer', ''),
      (value, section) => {
        try {
          resolveConfig((section === '' ? value : { [section]: value }) as ConfigInput);
        } catch (error) {
          expect(isTierraError(error)).toBe(true);
        }
      },
    ),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'abs: \n-[]{},&*!|>"\'#%@?01.~\t') }), (text) => {
      try {
        loadConfig(write('any.yaml', text));
      } catch (error) {
        expect(isTierraError(error)).toBe(true);
      }
    }),
    { numRuns: 300 },
  );
});
