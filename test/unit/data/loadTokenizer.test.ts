import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../../src/core/errors.ts';
import { byteTokenizer, loadTokenizer, type Tokenizer } from '../../../src/data/index.ts';
import { folderWith } from './helpers.ts';

const goldenFolder = fileURLToPath(new URL('../../goldens', import.meta.url));
const goldens = JSON.parse(readFileSync(path.join(goldenFolder, 'tokenizerIds.json'), 'utf8')) as {
  strings: string[];
  tokenizers: Record<string, { ids: number[][]; texts: string[]; textsWithoutSpecial: string[] }>;
};
const goldenFile = (name: string): string => path.join(goldenFolder, `tokenizer-${name}.json`);
const names = Object.keys(goldens.tokenizers);

const stream = (tokenizer: Tokenizer, ids: readonly number[], skipSpecial = false): string => {
  const decoder = tokenizer.createDecoder({ skipSpecial });
  return ids.map((id) => decoder.push(id)).join('') + decoder.end();
};

describe.each(names)('%s, against the reference implementation', (name) => {
  const golden = goldens.tokenizers[name]!;
  const loaded = loadTokenizer(goldenFile(name));

  test.each(goldens.strings.map((string, index) => [string, index] as const))('%j', async (string, index) => {
    const tokenizer = await loaded;
    const ids = golden.ids[index]!;
    expect([...Array.from(tokenizer.encode(string))]).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(golden.texts[index]);
    expect(tokenizer.decode(ids, { skipSpecial: true })).toBe(golden.textsWithoutSpecial[index]);
    expect(stream(tokenizer, ids)).toBe(golden.texts[index]);
    expect(stream(tokenizer, ids, true)).toBe(golden.textsWithoutSpecial[index]);
  });
});

describe('streaming', () => {
  test('never emits half a character, and all of it by the end', async () => {
    const tokenizer = await loadTokenizer(goldenFile('byte-level'));
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const decoder = tokenizer.createDecoder();
        const parts = Array.from(tokenizer.encode(text)).map((id) => decoder.push(id));
        expect(parts.filter((part) => part.includes('\uFFFD') && !text.includes('\uFFFD'))).toEqual([]);
        expect(parts.join('') + decoder.end()).toBe(text);
      }),
    );
  });

  test('any ids of the byte tokenizer give what decoding them at once gives', () => {
    const tokenizer = byteTokenizer();
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 256 })), fc.boolean(), (ids, skipSpecial) => {
        expect(stream(tokenizer, ids, skipSpecial)).toBe(tokenizer.decode(ids, { skipSpecial }));
      }),
    );
  });

  test('an unfinished character comes out as U+FFFD at the end, and the decoder starts anew', () => {
    const decoder = byteTokenizer().createDecoder();
    expect(decoder.push(0xf0)).toBe('');
    expect(decoder.push(0x9f)).toBe('');
    expect(decoder.end()).toBe('\uFFFD');
    expect(decoder.push(65)).toBe('A');
  });
});

describe('special tokens', () => {
  test('end of text is found by its usual names', async () => {
    expect(await loadTokenizer(goldenFile('byte-level'))).toMatchObject({ endOfText: 0, startOfText: null });
    expect(await loadTokenizer(goldenFile('byte-fallback'))).toMatchObject({ endOfText: 2, startOfText: 1 });
  });

  test('or by the configuration beside the tokenizer, which changes the fingerprint', async () => {
    const content = readFileSync(goldenFile('byte-level'), 'utf8');
    const folder = folderWith({
      'one/tokenizer.json': content,
      'two/tokenizer.json': content,
      'two/tokenizer_config.json': JSON.stringify({ eos_token: { content: '<|user|>' } }),
    });
    const one = await loadTokenizer(path.join(folder, 'one'));
    const two = await loadTokenizer(path.join(folder, 'two/tokenizer.json'));
    expect([one.name, one.endOfText, two.name, two.endOfText]).toEqual(['one', 0, 'two', 1]);
    expect(one.fingerprint).not.toBe(two.fingerprint);
  });

  test('the vocabulary counts added tokens beyond the model', async () => {
    const json = JSON.parse(readFileSync(goldenFile('byte-level'), 'utf8'));
    json.added_tokens.push({ ...json.added_tokens[0], id: 900, content: '<|late|>' });
    const folder = folderWith({ 'tokenizer.json': JSON.stringify(json) });
    expect((await loadTokenizer(folder)).vocabularySize).toBe(901);
  });
});

describe('files that are no usable tokenizer', () => {
  const edited = (
    edit: (json: Record<string, unknown> & { model: Record<string, unknown>; added_tokens: object[] }) => void,
  ): string => {
    const json = JSON.parse(readFileSync(goldenFile('byte-level'), 'utf8'));
    edit(json);
    return JSON.stringify(json);
  };

  test.each<[string, string | null, ErrorCode, RegExp]>([
    ['missing', null, 'E_DATA', /^tokenizer: \/.*tokenizer\.json does not exist$/],
    ['not JSON', 'version https://git-lfs', 'E_DATA', /^tokenizer: \/.*tokenizer\.json is not JSON \(.+\)$/],
    ['another JSON file', '{"eos_token":"</s>"}', 'E_DATA', /is JSON, but not a tokenizer: it has no "model"$/],
    ['null', 'null', 'E_DATA', /is JSON, but not a tokenizer: it has no "model"$/],
    ['no vocabulary', edited((json) => delete json.model.vocab), 'E_DATA', /is malformed: no "model.vocab"$/],
    [
      'an id that is none',
      edited((json) => Object.assign(json.model, { vocab: { a: -1 } })),
      'E_DATA',
      /the token "a" has the id -1$/,
    ],
    [
      'an id beyond reason',
      edited((json) => Object.assign(json.model, { vocab: { a: 2 ** 40 } })),
      'E_DATA',
      /has the id 1099511627776$/,
    ],
    [
      'a broken added token',
      edited((json) => json.added_tokens.push({ id: 3 })),
      'E_DATA',
      /an added token has no content$/,
    ],
    [
      'word pieces',
      edited((json) => Object.assign(json.model, { type: 'WordPiece' })),
      'E_UNSUPPORTED',
      /uses the model type "WordPiece"/,
    ],
    [
      'dropout',
      edited((json) => Object.assign(json.model, { dropout: 0.1 })),
      'E_UNSUPPORTED',
      /uses BPE dropout, which would give wrong ids here$/,
    ],
    [
      'a split that the library ignores',
      edited((json) =>
        Object.assign(json, {
          pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithNext', invert: false },
        }),
      ),
      'E_UNSUPPORTED',
      /uses a split that is "MergedWithNext"/,
    ],
    [
      'a pre-tokenizer that differs',
      edited((json) =>
        Object.assign(json, { pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Whitespace' }] } }),
      ),
      'E_UNSUPPORTED',
      /uses the pre-tokenizer "Whitespace"/,
    ],
    [
      'an unknown step',
      edited((json) => Object.assign(json, { decoder: { type: 'Mystery' } })),
      'E_UNSUPPORTED',
      /cannot be used \(Unknown Decoder type: Mystery\)$/,
    ],
    ['no merges', edited((json) => delete json.model.merges), 'E_UNSUPPORTED', /tokenizer\.json cannot be used/],
  ])('%s', async (_, content, code, message) => {
    const folder = folderWith(content === null ? {} : { 'tokenizer.json': content });
    const loaded = loadTokenizer(folder);
    await expect(loaded).rejects.toThrow(message);
    await expect(loaded).rejects.toMatchObject({ code, hint: expect.stringMatching(/\.$/) });
  });
});

test('ids outside the vocabulary are refused when decoding', async () => {
  for (const tokenizer of [byteTokenizer(), await loadTokenizer(goldenFile('byte-level'))]) {
    expect(() => tokenizer.decode([0, 5000])).toThrow(`decode: id 5000 is not in 0..${tokenizer.vocabularySize - 1}`);
    expect(tokenizer.decode([])).toBe('');
  }
});
