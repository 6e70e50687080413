import { chmodSync, mkdirSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  checkpointsFolder,
  contentFile,
  copiedFile,
  currentRunId,
  findNewest,
  listCheckpoints,
  type ManifestFields,
  pruneCheckpoints,
  readManifest,
  removeLeftovers,
  type TensorEntry,
  tensorFiles,
  verifyCheckpoint,
  writeCheckpoint,
} from '../../../src/engine/checkpoint/index.ts';
import { sampleContent } from './content.ts';
import { expectWholly, names, save, scratchOutput } from './sample.ts';

const keepAll = { keepLast: 100 };

async function refusal(
  output: string,
  step: number,
  change: object,
): Promise<{ message: string; hint: string; code: string }> {
  const content = { ...sampleContent(step, join(scratchOutput(), 'tokenizer.json')), ...change };
  const error = await writeCheckpoint(output, step, content, keepAll).then(
    () => undefined,
    (reason: { message: string; hint: string; code: string }) => reason,
  );
  if (error === undefined) throw new Error('expected a refusal');
  return { code: error.code, message: error.message.replaceAll(output, 'OUT'), hint: error.hint };
}

test('layout: a Hugging Face folder, the optimizer beside it, and the manifest', async () => {
  const output = scratchOutput();
  const folder = await save(output, 100);
  expect(folder).toBe(join(output, 'checkpoints', 'step-00000100'));
  const manifest = readManifest(folder);
  expect(manifest.files.map(({ path }) => path)).toEqual([
    'model/config.json',
    'model/tokenizer.json',
    'model/model-00001-of-00002.safetensors',
    'model/model-00002-of-00002.safetensors',
    'model/model.safetensors.index.json',
    'optimizer/optimizer-00001-of-00003.safetensors',
    'optimizer/optimizer-00002-of-00003.safetensors',
    'optimizer/optimizer-00003-of-00003.safetensors',
    'optimizer/optimizer.safetensors.index.json',
  ]);
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect(manifest).toMatchObject({
    format: 'tierra-checkpoint',
    version: 2,
    writers: 1,
    metrics: { loss: 2.5 },
    step: 100,
    createdBy: `tierra ${version}`,
  });
  expect((await verifyCheckpoint(folder)).warnings).toEqual([]);
  expectWholly(folder, 100);
});

test('tensors may be read asynchronously, and never more than a piece at a time', async () => {
  const output = scratchOutput();
  const pieces: number[] = [];
  const entry: TensorEntry = {
    name: 'large',
    dtype: 'U8',
    shape: [20_000_000],
    async read(into, byteOffset) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      pieces.push(into.length);
      into.fill((byteOffset / 1000) & 0xff);
    },
  };
  const fields = sampleContent(1, join(output, 't.json')).manifestFields;
  const { path, bytes } = await writeCheckpoint(
    output,
    1,
    { manifestFields: fields, files: [tensorFiles('model', [entry])] },
    keepAll,
  );
  expect(pieces).toEqual([8388608, 8388608, 3222784]);
  expect(bytes).toBeGreaterThan(20_000_000);
  await verifyCheckpoint(path);
});

test('ten thousand tensors do not lengthen the manifest', { timeout: 60_000 }, async () => {
  const output = scratchOutput();
  const entries = Array.from(
    { length: 1e4 },
    (_, i): TensorEntry => ({ name: `t.${i}`, dtype: 'F32', shape: [1], read: (into) => void into.fill(i & 0xff) }),
  );
  const fields = sampleContent(1, join(output, 't.json')).manifestFields;
  const { path } = await writeCheckpoint(
    output,
    1,
    { manifestFields: fields, files: [tensorFiles('model', entries)] },
    keepAll,
  );
  expect(readFileSync(join(path, 'manifest.json')).length).toBeLessThan(2000);
});

describe('refusals leave the earlier checkpoint untouched', () => {
  test('no room: what is needed and what is free', async () => {
    const output = scratchOutput();
    await save(output, 10);
    const huge: TensorEntry = { name: 'w', dtype: 'F32', shape: [2 ** 50], read: () => expect.unreachable() };
    const { code, message, hint } = await refusal(output, 20, { files: [tensorFiles('model', [huge])] });
    expect(code).toBe('E_IO');
    expect(message).toMatch(
      /^the checkpoint of step 20 was not written: OUT\/checkpoints: the checkpoint needs 4096 TiB, but [\d.]+ [GMT]iB are free$/,
    );
    expect(hint).toMatch(
      /^Free [\d.]+ TiB, keep fewer checkpoints \(keepLast\), or choose an output folder on a larger disk\.$/,
    );
    expect(names(output)).toEqual(['step-00000010']);
    expectWholly((await findNewest(output)).found!.path, 10);
  });

  test('a reader that fails, a vote that fails', async () => {
    const output = scratchOutput();
    await save(output, 10);
    const bad: TensorEntry = { name: 'w', dtype: 'F32', shape: [4], read: () => Promise.reject(new Error('gone')) };
    expect((await refusal(output, 20, { files: [tensorFiles('model', [bad])] })).message).toBe('gone');
    const content = sampleContent(20, join(output, 'tokenizer.json'));
    const beforeManifest = (): Promise<void> => Promise.reject(new Error('rank 1 could not'));
    await expect(writeCheckpoint(output, 20, content, keepAll, { beforeManifest })).rejects.toThrow('rank 1 could not');
    expect(names(output)).toEqual(['step-00000010']);
  });

  test('a sound checkpoint of that step; a damaged one is replaced', async () => {
    const output = scratchOutput();
    const folder = await save(output, 10);
    expect(await refusal(output, 10, {})).toEqual({
      code: 'E_CHECKPOINT',
      message:
        'the checkpoint of step 10 was not written: OUT/checkpoints/step-00000010: there is a sound checkpoint of step 10 already',
      hint: 'Resume from it, or give the new run another output folder.',
    });
    expectWholly(folder, 10);
    truncateSync(join(folder, 'manifest.json'), 50);
    expectWholly(await save(output, 10), 10);
    expect(names(output)).toEqual(['step-00000010']);
  });

  test('an output that is a file, or a checkpoints folder that is one', async () => {
    const output = join(scratchOutput(), 'run');
    writeFileSync(output, '');
    const { code, message, hint } = await refusal(output, 10, {});
    expect(code).toBe('E_IO');
    expect(message).toMatch(
      /^the checkpoint of step 10 was not written: OUT\/checkpoints: cannot create the folder: ENOTDIR/,
    );
    expect(hint).toBe('A part of the path is a file, not a folder: remove it or choose another folder.');
    rmSync(output);
    mkdirSync(output);
    writeFileSync(checkpointsFolder(output), '');
    expect(await refusal(output, 10, {})).toMatchObject({ code: 'E_IO', message: expect.stringMatching(/ENOTDIR/) });
  });

  test('an output that cannot be written', async () => {
    // Permissions do not bind root; what the kernel shows under /proc does.
    const root = process.getuid?.() === 0;
    const output = root ? '/proc/self/task' : scratchOutput();
    if (!root) chmodSync(output, 0o555);
    const { code, message } = await refusal(output, 10, {});
    expect(code).toBe('E_IO');
    expect(message).toMatch(
      /^the checkpoint of step 10 was not written: OUT\/checkpoints: cannot create the folder: E/,
    );
  });

  test('paths that leave the checkpoint, a source that is missing, numbers that JSON cannot hold', async () => {
    for (const path of ['../x', '/etc/x', 'model/../../x', '', 'a//b', 'manifest.json', 'a\\b']) {
      expect(() => contentFile(path, ''), path).toThrow(`${JSON.stringify(path)} cannot be a file of a checkpoint`);
    }
    expect(() => copiedFile('model/t.json', '/nowhere/t.json')).toThrow(expect.objectContaining({ code: 'E_IO' }));
    const output = scratchOutput();
    const fields = sampleContent(1, join(output, 't.json')).manifestFields;
    const withSchedule = async (schedule: unknown): Promise<string> =>
      (await refusal(output, 1, { manifestFields: { ...fields, schedule } as ManifestFields })).message;
    expect(await withSchedule({ a: [1, Number.NaN] })).toBe('manifest.schedule.a[1]: JSON cannot hold NaN');
    expect(await withSchedule(-0)).toBe('manifest.schedule: JSON cannot hold -0');
    expect(await withSchedule({ a: undefined })).toBe('manifest.schedule.a: JSON cannot hold undefined');
    expect(await withSchedule(new Map())).toBe('manifest.schedule: JSON cannot hold Map');
    expect(await withSchedule(1n)).toBe('manifest.schedule: JSON cannot hold bigint');
  });
});

describe('pruning', () => {
  const steps = (output: string): number[] => listCheckpoints(output).map(({ step }) => step);

  test('keeps the newest and every so many', { timeout: 60_000 }, async () => {
    const output = scratchOutput();
    for (let step = 10; step <= 80; step += 10) await save(output, step, { keepLast: 2, keepEvery: 30 });
    expect(steps(output)).toEqual([30, 60, 70, 80]);
    await expect(save(output, 90, { keepLast: 0 })).rejects.toThrow('keepLast must be at least 1, got 0');
  });

  test('removes nothing that no newer sound checkpoint replaces', async () => {
    const output = scratchOutput();
    for (const step of [10, 20, 30]) await save(output, step);
    for (const step of [20, 30]) {
      const shard = join(checkpointsFolder(output), `step-000000${step}`, 'model/config.json');
      writeFileSync(shard, readFileSync(shard, 'utf8').replace('llama', 'lamma'));
    }
    expect(await pruneCheckpoints(output, { keepLast: 1 })).toEqual([]);
    expect(steps(output)).toEqual([10, 20, 30]);
    await save(output, 40, keepAll);
    expect(await pruneCheckpoints(output, { keepLast: 1 })).toHaveLength(3);
    expect(steps(output)).toEqual([40]);
  });

  test('leaves what is damaged in plain sight, or from the future, for a person to look at', async () => {
    const output = scratchOutput();
    truncateSync(join(await save(output, 10), 'manifest.json'), 10);
    await save(output, 20);
    await save(output, 30, { keepLast: 1 });
    expect(steps(output)).toEqual([10, 30]);
  });
});

describe('leftovers', () => {
  test('of a living run stay, of another machine only while they are fresh', () => {
    const output = scratchOutput();
    const folder = checkpointsFolder(output);
    const mine = `step-00000010.tmp-${currentRunId()}`;
    const reused = `step-00000020.tmp-${currentRunId()}1`;
    const fresh = 'step-00000030.tmp-other-host-12-345';
    const stale = 'step-00000040.old-other-host-12-345';
    for (const name of [mine, reused, fresh, stale, 'notes.tmp']) mkdirSync(join(folder, name), { recursive: true });
    const twoHoursAgo = Date.now() / 1000 - 7200;
    utimesSync(join(folder, stale), twoHoursAgo, twoHoursAgo);
    const found = removeLeftovers(output).map(({ path, removed, reason }) => [
      path.slice(folder.length + 1),
      removed,
      reason,
    ]);
    expect(found.sort()).toEqual([
      [mine, false, `run ${currentRunId()} may still be at work on it`],
      [reused, true, `run ${currentRunId()}1 is dead`],
      [fresh, false, 'run other-host-12-345 may still be at work on it'],
      [stale, true, 'run other-host-12-345 is not of this machine and has not touched it for 120 minutes'],
    ]);
    expect(names(output)).toEqual(['notes.tmp', mine, fresh]);
  });
});
