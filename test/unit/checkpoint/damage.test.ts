import {
  cpSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { findNewest, listCheckpoints, verifyCheckpoint } from '../../../src/engine/checkpoint/index.ts';
import { encodeManifest, type Manifest, readManifest } from '../../../src/engine/checkpoint/manifest.ts';
import { upgradeManifest } from '../../../src/engine/checkpoint/upgrades.ts';
import { expectWholly, save, scratchOutput } from './sample.ts';

const shard = 'model/model-00001-of-00002.safetensors';

function flip(path: string, at: number, bit = 0): void {
  const bytes = readFileSync(path);
  bytes[at] = bytes[at]! ^ (1 << bit);
  writeFileSync(path, bytes);
}

/** Rewrites the manifest, with a valid seal. */
function forge(folder: string, change: (manifest: Manifest) => object): void {
  const manifest = change(readManifest(folder)) as Manifest;
  writeFileSync(join(folder, 'manifest.json'), encodeManifest(manifest));
}

describe('a damaged checkpoint is passed over for the one before, with the reason', () => {
  const cases: readonly (readonly [string, (folder: string) => void, string, RegExp])[] = [
    [
      'torn manifest',
      (f) => truncateSync(join(f, 'manifest.json'), 400),
      'corrupt',
      /FOLDER\/manifest.json: is torn: it has 400 characters and no checksum at its end$/,
    ],
    ['empty manifest', (f) => truncateSync(join(f, 'manifest.json'), 0), 'corrupt', /is torn: it has 0 characters/],
    [
      'missing manifest',
      (f) => rmSync(join(f, 'manifest.json')),
      'incomplete',
      /^FOLDER: is no complete checkpoint, it has no manifest.json$/,
    ],
    [
      'flipped bit in the manifest',
      (f) => flip(join(f, 'manifest.json'), 60),
      'corrupt',
      /manifest.json: was altered: its checksum is [0-9a-f]{64}, it says [0-9a-f]{64}$/,
    ],
    [
      'flipped bit in a shard',
      (f) => flip(join(f, shard), statSync(join(f, shard)).size - 1),
      'corrupt',
      /^FOLDER: model\/model-00001-of-00002.safetensors has checksum [0-9a-f]{64}, the manifest says [0-9a-f]{64}$/,
    ],
    [
      'missing shard',
      (f) => rmSync(join(f, shard)),
      'incomplete',
      /^FOLDER: the file model\/model-00001-of-00002.safetensors \(\d+ bytes\) is missing$/,
    ],
    [
      'cut shard',
      (f) => truncateSync(join(f, shard), 99),
      'corrupt',
      /^FOLDER: model\/model-00001-of-00002.safetensors has 99 bytes, the manifest says \d+$/,
    ],
    [
      'shard that is a link',
      (f) => {
        renameSync(join(f, shard), join(f, '../real'));
        symlinkSync('../../real', join(f, shard));
      },
      'corrupt',
      /^FOLDER: model\/model-00001-of-00002.safetensors is not a regular file inside the checkpoint$/,
    ],
    [
      'newer format',
      (f) => forge(f, (m) => ({ ...m, version: 3, createdBy: 'tierra 9.0.0' })),
      'unsupported',
      /manifest.json: written by tierra 9.0.0 in format version 3; this is 2$/,
    ],
    [
      'other format',
      (f) => forge(f, (m) => ({ ...m, format: 'other' })),
      'corrupt',
      /manifest.json: is not the manifest of a Tierra checkpoint$/,
    ],
    [
      'version zero',
      (f) => forge(f, (m) => ({ ...m, version: 0 })),
      'corrupt',
      /manifest.json: its version is 0, not a count from 1$/,
    ],
    [
      'path traversal',
      (f) => forge(f, (m) => ({ ...m, files: [{ ...m.files[0]!, path: '../step-00000010/manifest.json' }] })),
      'corrupt',
      /lists the file "..\/step-00000010\/manifest.json", which is not a path inside the checkpoint, once$/,
    ],
    [
      'absolute path',
      (f) => forge(f, (m) => ({ ...m, files: [{ ...m.files[0]!, path: '/etc/passwd' }] })),
      'corrupt',
      /lists the file "\/etc\/passwd", which is not a path inside the checkpoint, once$/,
    ],
    [
      'one file twice',
      (f) => forge(f, (m) => ({ ...m, files: [m.files[0]!, m.files[0]!] })),
      'corrupt',
      /lists the file "model\/config.json", which is not a path inside the checkpoint, once$/,
    ],
    [
      'no step',
      (f) => forge(f, (m) => ({ ...m, step: -1 })),
      'corrupt',
      /manifest.json: step is missing or malformed$/,
    ],
    [
      'no random state',
      (f) => forge(f, ({ random: _, ...m }) => m),
      'corrupt',
      /manifest.json: random is missing or malformed$/,
    ],
    [
      'bad checksum',
      (f) => forge(f, (m) => ({ ...m, files: [{ ...m.files[0]!, sha256: 'x' }] })),
      'corrupt',
      /the checksum of model\/config.json is missing or malformed$/,
    ],
    [
      'folder of another step',
      (f) => {
        const older = join(f, '../step-00000010');
        rmSync(f, { recursive: true });
        cpSync(older, f, { recursive: true });
      },
      'corrupt',
      /^FOLDER: its manifest is of step 10: the folder was renamed or mixed up$/,
    ],
  ];
  test.each(cases)('%s', async (_, damage, state, reason) => {
    const output = scratchOutput();
    await save(output, 10);
    const folder = await save(output, 20);
    damage(folder);
    const { found, passedOver } = await findNewest(output);
    expect(found?.step).toBe(10);
    expect(passedOver).toHaveLength(1);
    expect(passedOver[0]).toMatchObject({ step: 20, path: folder, state });
    expect(passedOver[0]!.reason!.replaceAll(folder, 'FOLDER')).toMatch(reason);
    await expect(verifyCheckpoint(folder)).rejects.toMatchObject({ hint: expect.stringMatching(/./) });
    expectWholly(found!.path, 10);
    const listed = listCheckpoints(output).map((each) => [each.step, each.state]);
    // A listing looks at sizes only: a flipped bit inside a shard is for verification to find.
    expect(listed).toEqual([
      [10, 'complete'],
      [20, _ === 'flipped bit in a shard' ? 'complete' : state],
    ]);
  });

  test('any one bit, anywhere', { timeout: 60_000 }, async () => {
    const output = scratchOutput();
    await save(output, 10);
    const folder = await save(output, 20);
    const files = readManifest(folder)
      .files.map(({ path }) => path)
      .concat('manifest.json');
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...files), fc.nat(), fc.nat(7), async (file, seed, bit) => {
        const path = join(folder, file);
        const at = seed % statSync(path).size;
        flip(path, at, bit);
        const { found, passedOver } = await findNewest(output);
        flip(path, at, bit);
        expect(found?.step).toBe(10);
        expect(passedOver).toHaveLength(1);
      }),
      { numRuns: 300 },
    );
    expectWholly((await findNewest(output)).found!.path, 20);
  });
});

test('a file that the manifest does not know is a warning', async () => {
  const output = scratchOutput();
  const folder = await save(output, 10);
  writeFileSync(join(folder, 'model', 'notes.txt'), 'mine');
  const { found } = await findNewest(output);
  expect(found?.warnings).toEqual([`${folder}: the file model/notes.txt is not part of the checkpoint; it is ignored`]);
});

test('nothing to find is not an error', async () => {
  const output = scratchOutput();
  expect(await findNewest(output)).toEqual({ found: undefined, passedOver: [] });
  expect(readdirSync(output)).toEqual([]);
});

describe('older formats', () => {
  const table = {
    1: (m: Record<string, unknown>) => ({ ...m, random: { seed: m.seed } }),
    2: ({ seed: _, ...m }: Record<string, unknown>) => m,
  };

  test('are upgraded one version at a time', () => {
    const raw = { format: 'tierra-checkpoint', version: 1, seed: 7 };
    expect(upgradeManifest(raw, 'm', table, 3)).toEqual({
      format: 'tierra-checkpoint',
      version: 3,
      random: { seed: 7 },
    });
  });

  test('without an upgrade are refused', () => {
    expect(() => upgradeManifest({ format: 'tierra-checkpoint', version: 1 }, 'm.json', { 2: table[2] }, 3)).toThrow(
      expect.objectContaining({
        code: 'E_UNSUPPORTED',
        message: 'm.json: format version 1 can no longer be read',
        hint: 'Load and save it once with a version of Tierra that still reads format 1.',
      }),
    );
  });
});
