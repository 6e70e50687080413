import path from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hashFiles } from '../../../src/data/corpusFiles.ts';
import { loadTokenizer } from '../../../src/data/index.ts';
import { textPieces } from '../../../src/data/textPieces.ts';
import { readTokenizerDefinition } from '../../../src/data/tokenizerDefinition.ts';
import { library } from '../../../src/data/tokenizerLibrary.ts';
import { mendLibrary } from '../../../src/data/tokenizerSupport.ts';
import { folderWith } from './helpers.ts';

const golden = (name: string): string =>
  fileURLToPath(new URL(`../../goldens/tokenizer-${name}.json`, import.meta.url));

const part = fc.oneof(
  fc.constantFrom(
    'the',
    'boats',
    'Z',
    ' ',
    '  ',
    ' a ',
    '\n',
    'é',
    '港',
    '. ',
    '▁',
    '<s>',
    '</s> x',
    '\u00a0',
    ' \u0301',
    '7',
    "don't",
  ),
  fc.string({ unit: 'grapheme', maxLength: 4 }),
);

describe.each(['byte-fallback', 'unigram'])('%s', (name) => {
  test('gives for words one by one what it gives for the whole text', async () => {
    const tokenizer = await loadTokenizer(golden(name));
    const whole = new library.Tokenizer(readTokenizerDefinition(golden(name)).json, {});
    mendLibrary(whole);
    fc.assert(
      fc.property(fc.array(part, { maxLength: 30 }), (parts) => {
        const text = parts.join('');
        expect(Array.from(tokenizer.encode(text))).toEqual(whole.encode(text, { add_special_tokens: false }).ids);
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ['of words', 'the boats came in '],
    ['without a space', '港口很安静'],
  ])('takes long texts %s', async (_, text) => {
    const tokenizer = await loadTokenizer(golden(name));
    const times = Math.ceil(200_000 / text.length);
    expect(tokenizer.encode(text.repeat(times)).length).toBeGreaterThan(times);
  });
});

describe('files longer than one piece', () => {
  const pieces = async (content: string | Uint8Array, largest: number): Promise<string[]> => {
    const [file] = await hashFiles([path.join(folderWith({ 'a.txt': content }), 'a.txt')], Number.POSITIVE_INFINITY);
    return [...textPieces(file!, () => {}, largest)];
  };

  test('lose no character, and are cut after a line break before visible text', async () => {
    const text = Array.from(
      { length: 60_000 },
      (_, index) => `line ${index} with émoji 😀\n${index % 7 === 0 ? '\n  ' : ''}`,
    ).join('');
    const cut = await pieces(text, 500_000);
    expect(cut.join('')).toBe(text);
    expect(cut.length).toBeGreaterThan(1);
    for (const piece of cut.slice(0, -1)) expect(piece.endsWith('\n')).toBe(true);
    for (const piece of cut.slice(1)) expect(piece).toMatch(/^\S/);
  });

  test('without a line break are never cut inside a character', async () => {
    const text = '😀é港a'.repeat(400_000);
    const cut = await pieces(text, 1_000_000);
    expect(cut.length).toBeGreaterThan(1);
    expect(cut.join('')).toBe(text);
  });
});
