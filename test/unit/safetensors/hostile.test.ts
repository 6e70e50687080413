import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isTierraError } from '../../../src/core/errors.ts';
import { openSafetensors } from '../../../src/tensor/safetensors/index.ts';
import { assemble, messageOf, scratchFolder } from './scratch.ts';

const golden = join(import.meta.dirname, '../../goldens/safetensors/mixed.safetensors');
const f32 = (begin: number | string, end: number | string, shape = '[2]'): string =>
  `{"dtype":"F32","shape":${shape},"data_offsets":[${begin},${end}]}`;

/** Attack, header, bytes of data, and the whole message it must get. */
const attacks: readonly (readonly [string, string, number, string])[] = [
  [
    'not an object',
    '{]',
    0,
    'E_CORRUPT FILE: header: not valid JSON: expected a string, found "]" (at character 1 of 2)',
  ],
  [
    'not JSON',
    '{hello',
    0,
    'E_CORRUPT FILE: header: not valid JSON: expected a string, found "h" (at character 1 of 6)',
  ],
  [
    'cut JSON',
    '{"a":',
    0,
    'E_CORRUPT FILE: header: not valid JSON: expected a value, found the end (at character 5 of 5)',
  ],
  [
    'text after JSON',
    '{} x',
    0,
    'E_CORRUPT FILE: header: not valid JSON: expected the end, found "x" (at character 3 of 4)',
  ],
  ['starts with a space', ' {}', 0, 'E_CORRUPT FILE: the header does not start with "{"'],
  ['a list', '[]', 0, 'E_CORRUPT FILE: the header does not start with "{"'],
  [
    'duplicate tensor',
    `{"a":${f32(0, 8)},"a":${f32(0, 8)}}`,
    8,
    'E_CORRUPT FILE: header: the key "a" appears twice (at character 54 of 107)',
  ],
  [
    'duplicate through an escape',
    `{"a":${f32(0, 8)},"\\u0061":${f32(0, 8)}}`,
    8,
    'E_CORRUPT FILE: header: the key "a" appears twice (at character 54 of 112)',
  ],
  [
    'duplicate field',
    '{"a":{"dtype":"F32","dtype":"U8","shape":[8],"data_offsets":[0,8]}}',
    8,
    'E_CORRUPT FILE: header: the key "dtype" appears twice (at character 20 of 67)',
  ],
  [
    'deep nesting',
    `{"a":${'['.repeat(1e5)}`,
    0,
    'E_CORRUPT FILE: header: nested deeper than 3 levels (at character 7 of 100005)',
  ],
  [
    'a shape of many sizes',
    `{"a":${f32(0, 4, `[${'1,'.repeat(100)}1]`)}}`,
    4,
    'E_CORRUPT FILE: header: a list with more than 64 items (at character 157 of 254)',
  ],
  [
    'metadata that is no string',
    '{"__metadata__":{"format":1}}',
    0,
    'E_CORRUPT FILE: __metadata__ key "format" holds 1, not a string',
  ],
  ['metadata that is a list', '{"__metadata__":[]}', 0, 'E_CORRUPT FILE: __metadata__ is [], not an object of strings'],
  ['entry that is a number', '{"a":7}', 0, 'E_CORRUPT FILE: tensor "a": its entry is 7, not an object'],
  [
    '__proto__ as an empty entry',
    '{"__proto__":{}}',
    0,
    'E_CORRUPT FILE: tensor "__proto__": dtype is nothing, not a string',
  ],
  [
    'unknown dtype',
    '{"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}}',
    8,
    'E_CORRUPT FILE: tensor "a": unknown dtype "F31" (did you mean F32?)',
  ],
  [
    'dtype that objects inherit',
    '{"a":{"dtype":"constructor","shape":[2],"data_offsets":[0,8]}}',
    8,
    'E_CORRUPT FILE: tensor "a": unknown dtype "constructor"',
  ],
  ['unknown field', '{"a":{"dtyp":"F32"}}', 0, 'E_CORRUPT FILE: tensor "a": unknown field "dtyp"'],
  [
    'negative size',
    `{"a":${f32(0, 8, '[-2]')}}`,
    8,
    'E_CORRUPT FILE: tensor "a": shape [-2] must hold integers from 0 to 2^53 - 1',
  ],
  [
    'fractional size',
    `{"a":${f32(0, 8, '[2.0]')}}`,
    8,
    'E_CORRUPT FILE: tensor "a": shape [2.0] must hold integers from 0 to 2^53 - 1',
  ],
  [
    'size past 2^53',
    `{"a":${f32(0, 8, '[9007199254740993]')}}`,
    8,
    'E_CORRUPT FILE: tensor "a": shape [9007199254740993] must hold integers from 0 to 2^53 - 1',
  ],
  [
    'product that wraps to 8 bytes in 64 bits',
    `{"a":${f32(0, 8, '[4294967296, 4294967296, 2]')}}`,
    8,
    'E_CORRUPT FILE: tensor "a": shape [4294967296, 4294967296, 2] of F32 has more than 2^53 - 1 bytes',
  ],
  [
    'overflow hidden behind a zero',
    `{"a":${f32(0, 0, '[4294967296, 4294967296, 0]')}}`,
    0,
    'E_CORRUPT FILE: tensor "a": shape [4294967296, 4294967296, 0] of F32 has more than 2^53 - 1 bytes',
  ],
  [
    'shape larger than its bytes',
    `{"a":${f32(0, 8, '[3]')}}`,
    8,
    'E_CORRUPT FILE: tensor "a": shape [3] of F32 takes 12 bytes, but data_offsets [0, 8] span 8',
  ],
  [
    'offsets past the file',
    `{"a":${f32(0, 8)}}`,
    7,
    'E_CORRUPT FILE: tensor "a": data_offsets [0, 8] reach past the 7 bytes of data in the file',
  ],
  [
    'offsets backwards',
    `{"a":${f32(8, 0)}}`,
    8,
    'E_CORRUPT FILE: tensor "a": data_offsets [8, 0] are not [begin, end] with 0 <= begin <= end < 2^53',
  ],
  [
    'negative offset',
    `{"a":${f32(-8, 0)}}`,
    8,
    'E_CORRUPT FILE: tensor "a": data_offsets [-8, 0] are not [begin, end] with 0 <= begin <= end < 2^53',
  ],
  [
    'offsets past 2^53, where doubles skip odd numbers',
    `{"a":${f32('9007199254740993', '9007199254741001')}}`,
    8,
    'E_CORRUPT FILE: tensor "a": data_offsets [9007199254740993, 9007199254741001] are not [begin, end] with 0 <= begin <= end < 2^53',
  ],
  [
    'three offsets',
    '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}}',
    8,
    'E_CORRUPT FILE: tensor "a": data_offsets [0, 4, 8] are not [begin, end] with 0 <= begin <= end < 2^53',
  ],
  [
    'overlap',
    `{"a":${f32(0, 8)},"b":${f32(4, 12)}}`,
    12,
    'E_CORRUPT FILE: tensor "b": starts at 4 and overlaps tensor "a", which ends at 8',
  ],
  [
    'the same bytes twice',
    `{"a":${f32(0, 8)},"b":${f32(0, 8)}}`,
    8,
    'E_CORRUPT FILE: tensor "b": starts at 0 and overlaps tensor "a", which ends at 8',
  ],
  [
    'hole',
    `{"a":${f32(0, 8)},"b":${f32(12, 20)}}`,
    20,
    'E_CORRUPT FILE: tensor "b": starts at 12 and leaves a hole of 4 bytes after tensor "a"',
  ],
  [
    'hole at the start',
    `{"a":${f32(8, 16)}}`,
    16,
    'E_CORRUPT FILE: tensor "a": starts at 8 and leaves a hole of 8 bytes after the start of the data',
  ],
  [
    'garbage at the end',
    `{"a":${f32(0, 8)}}`,
    11,
    'E_CORRUPT FILE: the tensors end at 8, but the file has 11 bytes of data: 3 bytes belong to no tensor',
  ],
  [
    'data without tensors',
    '{}',
    5,
    'E_CORRUPT FILE: the tensors end at 0, but the file has 5 bytes of data: 5 bytes belong to no tensor',
  ],
  ['open string', '{"a', 0, 'E_CORRUPT FILE: header: not valid JSON: a string is not closed (at character 1 of 3)'],
  [
    'bad escape',
    '{"\\x":{}}',
    0,
    'E_CORRUPT FILE: header: not valid JSON: a string holds a bad escape (at character 1 of 9)',
  ],
  [
    'half of a surrogate pair',
    '{"\\ud800":{}}',
    0,
    'E_CORRUPT FILE: header: a string holds an unpaired surrogate (at character 1 of 13)',
  ],
  [
    'bare control character',
    '{"a\u0000":{}}',
    0,
    'E_CORRUPT FILE: header: not valid JSON: a string holds a control character (at character 1 of 9)',
  ],
];

describe('hostile headers', () => {
  test.each(attacks)('%s', (_, header, data, expected) => {
    const path = assemble(join(scratchFolder(), 'x.safetensors'), header, data);
    expect(messageOf(path, () => openSafetensors(path))).toBe(expected);
  });

  test.each([
    [2n ** 63n, 'the header length is 9223372036854775808, more than the 100000000 bytes that are allowed'],
    [2n ** 64n - 1n, 'the header length is 18446744073709551615, more than the 100000000 bytes that are allowed'],
    [100_000_001n, 'the header length is 100000001, more than the 100000000 bytes that are allowed'],
    [100_000_000n, 'the header length is 100000000, but only 2 bytes follow it'],
    [3n, 'the header length is 3, but only 2 bytes follow it'],
    [1n, 'the header does not start with "{"'],
    [0n, 'the header does not start with "{"'],
  ])('header length %s', (length, expected) => {
    const path = assemble(join(scratchFolder(), 'x.safetensors'), '{}', 0, length);
    expect(messageOf(path, () => openSafetensors(path))).toBe(`E_CORRUPT FILE: ${expected}`);
  });

  test('bytes that are not UTF-8', () => {
    const path = assemble(join(scratchFolder(), 'x'), Buffer.from('{"\xff":{}}', 'latin1'));
    expect(messageOf(path, () => openSafetensors(path))).toBe('E_CORRUPT FILE: the header is not valid UTF-8');
  });

  test('every refusal says what to do', () => {
    const path = assemble(join(scratchFolder(), 'x'), '{"a":7}');
    expect(() => openSafetensors(path)).toThrow(
      expect.objectContaining({
        hint: 'The file is damaged, incomplete or not a safetensors file: fetch or convert it again.',
        details: { path, tensor: 'a' },
      }),
    );
  });

  test('names that objects inherit are plain names', () => {
    const header = `{"__proto__":${f32(0, 8)},"constructor":${f32(8, 16)}}`;
    using file = openSafetensors(assemble(join(scratchFolder(), 'x'), header, 16));
    expect(file.names()).toEqual(['__proto__', 'constructor']);
    expect(Object.prototype).not.toHaveProperty('dtype');
  });
});

describe('files that are not files', () => {
  test('missing', () => {
    const path = join(scratchFolder(), 'none.safetensors');
    expect(messageOf(path, () => openSafetensors(path))).toBe(
      "E_IO FILE: cannot open: ENOENT: no such file or directory, open 'FILE'",
    );
  });

  test('a folder', () => {
    const path = scratchFolder();
    expect(messageOf(path, () => openSafetensors(path))).toBe('E_CORRUPT FILE: is not a regular file');
  });

  test('a named pipe, without waiting for its writer', () => {
    const path = join(scratchFolder(), 'pipe');
    expect(spawnSync('mkfifo', [path]).status).toBe(0);
    expect(messageOf(path, () => openSafetensors(path))).toBe('E_CORRUPT FILE: is not a regular file');
  });
});

describe('damage to a good file', () => {
  test('cut anywhere, it is refused', { timeout: 60_000 }, () => {
    const bytes = readFileSync(golden);
    const path = join(scratchFolder(), 'x');
    for (let length = 0; length < bytes.length; length++) {
      writeFileSync(path, bytes.subarray(0, length));
      expect(
        messageOf(path, () => openSafetensors(path)),
        `cut to ${length}`,
      ).toMatch(/^E_CORRUPT FILE: /);
    }
  });

  test('cut after it was opened, the read is refused', () => {
    const path = join(scratchFolder(), 'x');
    copyFileSync(golden, path);
    using file = openSafetensors(path);
    truncateSync(path, file.dataStart + 10);
    const { bytes } = file.info('embed.weight');
    expect(messageOf(path, () => file.readInto('embed.weight', new Uint8Array(bytes)))).toMatch(
      /^E_CORRUPT FILE: tensor "embed.weight": the file ends after \d+ of 48 bytes at \d+; it was cut after it was opened$/,
    );
  });

  test('any byte of the header changed: a typed refusal, or a file whose tensors still lie inside it', {
    timeout: 60_000,
  }, () => {
    const bytes = readFileSync(golden);
    const path = join(scratchFolder(), 'x');
    const headerEnd = 8 + Number(bytes.readBigUInt64LE());
    fc.assert(
      fc.property(fc.nat(headerEnd - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Buffer.from(bytes);
        changed[at] = changed[at]! ^ flip;
        writeFileSync(path, changed);
        try {
          using file = openSafetensors(path);
          for (const { end } of file.entries.values()) expect(file.dataStart + end).toBeLessThanOrEqual(bytes.length);
        } catch (error) {
          expect(isTierraError(error, 'E_CORRUPT'), String(error)).toBe(true);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

test('a name of ten million characters, with an escape: refused in a short message', { timeout: 60_000 }, () => {
  const path = assemble(join(scratchFolder(), 'x'), `{"${'a'.repeat(1e7)}\\n":1}`);
  expect(messageOf(path, () => openSafetensors(path))).toBe(
    `E_CORRUPT FILE: tensor "${'a'.repeat(117)}...": its entry is 1, not an object`,
  );
});

test('10^5 tensors open', { timeout: 60_000 }, () => {
  const header = Array.from({ length: 1e5 }, (_, i) => `"layer.${i}.weight":${f32(8 * i, 8 * i + 8)}`);
  using file = openSafetensors(assemble(join(scratchFolder(), 'x'), `{${header.join(',')}}`, 8e5));
  expect(file.entries.size).toBe(1e5);
  expect(file.info('layer.99999.weight')).toEqual({ dtype: 'F32', shape: [2], bytes: 8 });
});
