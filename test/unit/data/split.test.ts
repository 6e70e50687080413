import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytes, idsOf, prepare } from './corpora.ts';
import { folderWith } from './helpers.ts';

/** Up to 251 tokens that are all different. */
const counter = (tokens: number): Uint8Array => Uint8Array.from({ length: tokens }, (_, index) => index % 251);

describe('a fraction from the end', () => {
  test('is the last whole sequences, and no token is in both sets', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 30, max: 250 }),
        fc.integer({ min: 1, max: 8 }),
        fc.double({ min: 0.01, max: 0.6, noNaN: true }),
        async (tokens, sequenceLength, fraction) => {
          const root = folderWith({ 'a.txt': counter(tokens) });
          const corpus = await prepare(root, { sequenceLength, separator: 'none', validation: { fraction } });
          const [train, held] = [idsOf(corpus.train), idsOf(corpus.validation!)];
          expect(held.at(-1)).toBe(tokens - 1);
          expect(train[0]).toBe(0);
          expect(held[0]).toBeGreaterThan(train.at(-1)!);
          expect(held[0]! - train.at(-1)!).toBeLessThanOrEqual(sequenceLength);
          const all = Math.floor((tokens - 1) / sequenceLength);
          expect(Math.abs(corpus.validation!.sequences - Math.max(1, fraction * all))).toBeLessThanOrEqual(1);
          corpus.dispose();
        },
      ),
      { numRuns: 40 },
    );
  });

  test('changes without tokenizing again', async () => {
    const root = folderWith({ 'a.txt': counter(100) });
    const first = await prepare(root, { validation: { fraction: 0.1 } });
    const second = await prepare(root, { validation: { fraction: 0.3 } });
    expect(second.notes.join('\n')).toMatch(/^using the tokens in/);
    expect(second.validation!.sequences).toBeGreaterThan(first.validation!.sequences);
    expect(second.train.fingerprint).not.toBe(first.train.fingerprint);
    expect(first.train.fingerprint).not.toBe(first.validation!.fingerprint);
  });
});

describe('a fraction of the documents', () => {
  const documents = Array.from({ length: 200 }, (_, index) => `${String.fromCharCode(0x100 + index)}!`);
  const line = (text: string) => `${JSON.stringify({ text })}\n`;
  const textOf = (ids: number[]): string[] =>
    Buffer.from(ids.map((id) => (id === 256 ? 10 : id)))
      .toString('utf8')
      .split('\n')
      .filter(Boolean);

  test('puts every document on one side, about the fraction asked for, whatever their order', async () => {
    const root = folderWith({
      'a.jsonl': documents.map(line).join(''),
      'b.jsonl': [...documents].reverse().map(line).join(''),
    });
    const options = { sequenceLength: 1, validation: { fraction: 0.2, by: 'documents' } } as const;
    const one = await prepare(root, { ...options, files: 'a.jsonl' });
    const held = textOf(idsOf(one.validation!));
    const train = textOf(idsOf(one.train));
    expect([...held, ...train].sort()).toEqual([...documents].sort());
    expect(held.length).toBeGreaterThan(20);
    expect(held.length).toBeLessThan(60);
    const other = await prepare(root, { ...options, files: 'b.jsonl' });
    expect(textOf(idsOf(other.validation!)).sort()).toEqual(held.sort());
  });

  test('keeps copies of a file on one side', async () => {
    const files: Record<string, string> = {};
    for (const [index, text] of documents.entries()) {
      files[`one/${index}.txt`] = text;
      files[`two/${index}.txt`] = text;
    }
    const corpus = await prepare(folderWith(files), {
      sequenceLength: 1,
      validation: { fraction: 0.3, by: 'documents' },
    });
    const train = new Set(textOf(idsOf(corpus.train)));
    const held = textOf(idsOf(corpus.validation!));
    expect(held.length).toBeGreaterThan(40);
    expect(held.filter((text) => train.has(text))).toEqual([]);
  });
});

describe('files of their own', () => {
  test('leave the training set, by path and by content', async () => {
    const root = folderWith({ 'a.txt': 'training', 'val.txt': 'heldout.', 'copy.txt': 'heldout.' });
    const corpus = await prepare(root, { sequenceLength: 3, validation: { files: 'val.txt' } });
    expect(idsOf(corpus.train)).toEqual(bytes('trainin'));
    expect(idsOf(corpus.validation!)).toEqual(bytes('heldout'));
    expect(corpus.notes).toContain('2 files are kept for validation and left out of training');
  });

  test('must leave something to train on', async () => {
    const root = folderWith({ 'a.txt': 'training' });
    await expect(prepare(root, { validation: { files: '*.txt' } })).rejects.toMatchObject({
      code: 'E_DATA',
      message: 'all 1 training files are validation files as well',
    });
  });
});

describe('data that cannot be used', () => {
  test.each<[string, Record<string, string>, object, string]>([
    ['a missing file', {}, { files: 'no.txt' }, 'data files: ROOT/no.txt does not exist'],
    ['a pattern without match', {}, {}, 'data files: no file matches "**/*.txt" in ROOT'],
    [
      'files without a byte',
      { 'a.txt': '', 'b.txt': '' },
      {},
      'the corpus is empty: 2 files match "**/*.txt", all of 0 bytes',
    ],
    [
      'a missing validation file',
      { 'a.txt': 'abcdef' },
      { validation: { files: 'v.txt' } },
      'data files: ROOT/v.txt does not exist',
    ],
    [
      'less than a sequence',
      { 'a.txt': 'abc' },
      { sequenceLength: 4 },
      'the train data have 4 tokens, too few: a sequence of 4 takes 5 tokens',
    ],
    [
      'less than two sequences for a split',
      { 'a.txt': 'abcdefg' },
      { sequenceLength: 4, validation: { fraction: 0.5 } },
      'for one training and one validation sequence the corpus has 8 tokens, too few: a sequence of 4 takes 5 tokens',
    ],
    [
      'no validation document',
      { 'a.txt': 'abcdefg' },
      { validation: { fraction: 1e-9, by: 'documents' } },
      'the validation data have 0 tokens, too few: a sequence of 4 takes 5 tokens',
    ],
    [
      'empty JSONL',
      { 'a.jsonl': '\n\n' },
      { files: 'a.jsonl' },
      'the train data have 0 tokens, too few: a sequence of 4 takes 5 tokens',
    ],
  ])('%s', async (_, files, options, message) => {
    const root = folderWith(files);
    await expect(prepare(root, options)).rejects.toMatchObject({
      code: 'E_DATA',
      message: message.replace('ROOT', root),
      hint: expect.stringMatching(/\.$/),
    });
  });

  test.each<[object, string]>([
    [{ sequenceLength: 0 }, 'sequence length 0: expected a whole number from 1'],
    [{ maxBytes: 0 }, 'maxBytes 0: expected at least 1'],
    [{ validation: { fraction: 1 } }, 'validation fraction 1: expected a number between 0 and 1'],
    [{ shardTokens: 0.5 }, 'shardTokens 0.5: expected a whole number from 1'],
  ])('%j', async (options, message) => {
    await expect(prepare(folderWith({ 'a.txt': 'abcdef' }), options)).rejects.toMatchObject({
      code: 'E_ARGUMENT',
      message,
    });
  });

  test('a cache folder that cannot be made', async () => {
    const root = folderWith({ 'a.txt': 'abcdef', file: '' });
    await expect(prepare(root, { cacheFolder: 'file/cache' })).rejects.toMatchObject({
      code: 'E_IO',
      message: `token cache: cannot make the folder ${path.join(root, 'file/cache')} (ENOTDIR)`,
    });
  });
});
