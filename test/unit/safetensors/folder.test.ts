import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openSafetensorsFolder } from '../../../src/tensor/safetensors/index.ts';
import { assemble, messageOf, scratchFolder } from './scratch.ts';

const header = '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}';

function indexed(index: string): string {
  const folder = scratchFolder();
  writeFileSync(join(folder, 'model.safetensors.index.json'), index);
  assemble(join(folder, 'model-1.safetensors'), header, 4);
  return folder;
}

const refuse = (folder: string): string => messageOf(folder, () => openSafetensorsFolder(folder));
const index = 'E_CORRUPT FILE/model.safetensors.index.json';

describe('an index', () => {
  test.each([
    ['../model-1.safetensors', '"../model-1.safetensors"'],
    ['/etc/passwd', '"/etc/passwd"'],
    ['sub/model.safetensors', '"sub/model.safetensors"'],
    ['..', '".."'],
    ['.', '"."'],
    ['', '""'],
    ['a\\\\b', '"a\\\\b"'],
    ['a\\u0000b', '"a\\u0000b"'],
  ])('that points to %j is refused', (shard, shown) => {
    const folder = indexed(`{"weight_map":{"a":"${shard}"}}`);
    expect(refuse(folder)).toBe(`${index}: weight_map sends tensor "a" to ${shown}, not a plain file name`);
  });

  test.each([
    ['{"weight_map":{"a":7}}', 'weight_map sends tensor "a" to 7, not a plain file name'],
    ['{"weight_map":[]}', 'weight_map is [], not an object that names a file for each tensor'],
    ['{"weight_map":{}}', 'weight_map is {}, not an object that names a file for each tensor'],
    ['{}', 'weight_map is nothing, not an object that names a file for each tensor'],
    ['{"weight_map":{"a":"model-1.safetensors","a":"b"}}', 'the key "a" appears twice (at character 41 of 50)'],
    ['{"weight_map":', 'not valid JSON: expected a value, found the end (at character 14 of 14)'],
    ['{"weight_map":{"a":"model-2.safetensors"}}', 'the shard "model-2.safetensors" is not in the folder'],
    [
      '{"weight_map":{"a":"model-1.safetensors","b":"model-1.safetensors"}}',
      'maps tensor "b" to model-1.safetensors, which does not hold it',
    ],
  ])('%s', (text, expected) => {
    expect(refuse(indexed(text))).toBe(`${index}: ${expected}`);
  });
});

describe('links', () => {
  test('that leave the folder are refused, for shards and for single files', () => {
    const outside = assemble(join(scratchFolder(), 'secret.safetensors'), header, 4);
    const folder = scratchFolder();
    symlinkSync(outside, join(folder, 'model.safetensors'));
    expect(refuse(folder)).toBe(
      `E_CORRUPT FILE/model.safetensors: "model.safetensors" is a link that leaves the folder, to ${outside}`,
    );
    const sharded = indexed('{"weight_map":{"a":"model-2.safetensors"}}');
    symlinkSync(outside, join(sharded, 'model-2.safetensors'));
    expect(refuse(sharded)).toBe(`${index}: "model-2.safetensors" is a link that leaves the folder, to ${outside}`);
  });

  test('inside the folder are followed', () => {
    const folder = scratchFolder();
    assemble(join(folder, 'weights'), header, 4);
    symlinkSync('weights', join(folder, 'model.safetensors'));
    const source = openSafetensorsFolder(folder);
    expect(source.names()).toEqual(['a']);
    source.close();
  });

  test('of a Hugging Face cache, from a snapshot into the blobs beside it, are followed', () => {
    const root = scratchFolder();
    const snapshot = join(root, 'snapshots', '0123abcd');
    mkdirSync(snapshot, { recursive: true });
    mkdirSync(join(root, 'blobs'));
    assemble(join(root, 'blobs', 'ffee'), header, 4);
    symlinkSync('../../blobs/ffee', join(snapshot, 'model.safetensors'));
    const source = openSafetensorsFolder(snapshot);
    expect(source.info('a').bytes).toBe(4);
    source.close();
    renameSync(join(root, 'blobs'), join(root, 'elsewhere'));
    symlinkSync(join(root, 'elsewhere'), join(root, 'blobs'));
    expect(refuse(snapshot)).toMatch(/is a link that leaves the folder/);
  });
});

test('folders without weights say what they lack', () => {
  const folder = scratchFolder();
  expect(refuse(folder)).toBe('E_IO FILE: there is no model.safetensors or model.safetensors.index.json');
  writeFileSync(join(folder, 'pytorch_model.bin'), '');
  expect(refuse(folder)).toBe(
    'E_UNSUPPORTED FILE: holds pytorch_model.bin, but no model.safetensors or model.safetensors.index.json',
  );
});
