import { describe, expect, test } from 'vitest';
import { bytes, idsOf, prepare } from './corpora.ts';
import { folderWith } from './helpers.ts';

describe('byte-level text', () => {
  test('documents are joined in order with end-of-text after each, then cut into overlapping windows', async () => {
    const root = folderWith({ 'a.txt': 'first', 'sub/b.txt': 'second!', 'c.md': 'not this' });
    const { train, validation } = await prepare(root);
    expect(validation).toBeNull();
    expect(train.sequences).toBe(3);
    expect(train.tokens).toBe(12);
    expect(idsOf(train)).toEqual([...bytes('first'), 256, ...bytes('second!')].slice(0, 13));
  });

  test('bytes that are not UTF-8 are taken as they are', async () => {
    const root = folderWith({ 'a.txt': Uint8Array.of(0xff, 0xfe, 0, 0x80, 65, 66) });
    expect(idsOf((await prepare(root)).train)).toEqual([0xff, 0xfe, 0, 0x80, 65]);
  });

  test('shards smaller than a sequence read the same as one shard', async () => {
    const root = folderWith({ 'a.txt': 'the quick brown fox jumps over the lazy dog' });
    const whole = await prepare(root);
    const pieces = await prepare(root, { shardTokens: 3 });
    expect(idsOf(pieces.train)).toEqual(idsOf(whole.train));
    expect(pieces.train.fingerprint).toBe(whole.train.fingerprint);
  });

  test('the separator can be left out', async () => {
    const root = folderWith({ 'a.txt': 'ab', 'b.txt': 'cdefg' });
    expect(idsOf((await prepare(root, { separator: 'none' })).train)).toEqual(bytes('abcde'));
  });

  test('maxBytes uses the first bytes of the files in order', async () => {
    const root = folderWith({ 'a.txt': 'abcd', 'b.txt': 'efgh', 'c.txt': 'ijkl' });
    const { train } = await prepare(root, { maxBytes: 6, separator: 'none', sequenceLength: 5 });
    expect(idsOf(train)).toEqual(bytes('abcdef'));
    expect(train.sequences).toBe(1);
  });
});
