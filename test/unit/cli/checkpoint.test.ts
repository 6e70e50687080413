import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tensorFiles, writeCheckpoint } from '../../../src/engine/checkpoint/index.ts';
import { openSafetensorsFolder } from '../../../src/tensor/safetensors/index.ts';
import { sampleContent } from '../checkpoint/content.ts';
import { names, save, scratchOutput } from '../checkpoint/sample.ts';
import { runCli } from './runCli.ts';

const shard = 'model/model-00001-of-00002.safetensors';

function flipLast(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(path, bytes);
}

test('ls: step, when, size, loss, state', async () => {
  const output = scratchOutput();
  await save(output, 10);
  await save(output, 20);
  rmSync(join(output, 'checkpoints/step-00000020', shard));
  const { code, stdout } = await runCli(['checkpoint', 'ls', output]);
  expect(code).toBe(0);
  const lines = stdout.trimEnd().split('\n');
  expect(lines[0]).toMatch(/^step {2}saved {13}size {5,}loss {4}state$/);
  expect(lines[1]).toMatch(/^10 {4}\d{4}-\d\d-\d\d \d\d:\d\d {2}[\d.]+ KiB {2}2\.5000 {2}complete$/);
  expect(lines[2]).toMatch(/^20 {4}- .*incomplete: .*model-00001-of-00002.safetensors \(\d+ bytes\) is missing$/);
  const json = JSON.parse((await runCli(['checkpoint', 'ls', output, '--json'])).stdout) as object[];
  expect(json).toMatchObject([
    { step: 10, state: 'complete', loss: 2.5, savedAt: expect.stringMatching(/Z$/) },
    { step: 20, state: 'incomplete', loss: null, bytes: null },
  ]);
  expect((await runCli(['checkpoint', 'ls', join(output, 'checkpoints')])).stdout).toBe(
    stdout.replaceAll(output, output),
  );
});

test('verify names the bad file and fails', async () => {
  const output = scratchOutput();
  const good = await save(output, 10);
  const bad = await save(output, 20);
  flipLast(join(bad, shard));
  const { code, stdout } = await runCli(['checkpoint', 'verify', output]);
  expect(code).toBe(1);
  expect(stdout).toMatch(
    /step-00000010: sound, 9 files, [\d.]+ KiB\nbad: .*step-00000020: model\/model-00001-of-00002.safetensors has checksum/,
  );
  expect(await runCli(['checkpoint', 'verify', good])).toMatchObject({ code: 0 });
  expect(await runCli(['checkpoint', 'verify', bad])).toMatchObject({ code: 1 });
});

test('prune says what it would do, and does it when told', async () => {
  const output = scratchOutput();
  for (const step of [10, 20, 30, 40]) await save(output, step);
  const options = ['--keep-last', '1', '--keep-every', '20'];
  const dry = await runCli(['checkpoint', 'prune', output, ...options]);
  expect(dry.stdout).toMatch(
    /^would remove .*step-00000010\nwould remove .*step-00000030\n[\d.]+ KiB in all; do it with --yes\n$/,
  );
  expect(names(output)).toHaveLength(4);
  const done = await runCli(['checkpoint', 'prune', output, ...options, '--yes']);
  expect(done.stdout).toMatch(/^removed .*step-00000010\nremoved .*step-00000030\n[\d.]+ KiB freed\n$/);
  expect(names(output)).toEqual(['step-00000020', 'step-00000040']);
  expect((await runCli(['checkpoint', 'prune', output])).stdout).toBe('nothing to remove\n');
  const wrong = await runCli(['checkpoint', 'prune', output, '--keep-last', '0']);
  expect(wrong).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--keep-last: expected a whole number of at least 1, got "0"'),
  });
});

test('prune keeps an old checkpoint that only a damaged one would replace', async () => {
  const output = scratchOutput();
  for (const step of [10, 20]) await save(output, step);
  flipLast(join(output, 'checkpoints/step-00000020', shard));
  const { stdout } = await runCli(['checkpoint', 'prune', output, '--keep-last', '1', '--yes']);
  expect(stdout).toBe('nothing to remove\n');
  expect(names(output)).toHaveLength(2);
});

test('a path that is not there: the nearest one that is', async () => {
  const root = scratchOutput();
  const output = join(root, 'first-run');
  await save(output, 10);
  const { code, stderr } = await runCli(['checkpoint', 'ls', join(root, 'frist-run')]);
  expect(code).toBe(1);
  expect(stderr).toContain(`${join(root, 'frist-run')}: there is no such folder`);
  expect(stderr).toContain(`Did you mean ${output}?`);
  mkdirSync(join(root, 'empty'));
  expect((await runCli(['checkpoint', 'verify', join(root, 'empty')])).stderr).toContain('holds no checkpoints');
});

const f32 = (values: readonly number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

/** bf16 weights with their fp32 masters. */
async function saveMixed(output: string, masters: readonly number[]): Promise<string> {
  const weights = Uint16Array.from(masters, (value) => {
    const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
    return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
  });
  const [model, optimizer] = [new Uint8Array(weights.buffer), f32(masters)];
  const shape = [masters.length];
  const { manifestFields } = sampleContent(7, join(output, 't.json'));
  const entry = (name: string, dtype: 'BF16' | 'F32', bytes: Uint8Array) => ({
    name,
    dtype,
    shape,
    read: (into: Uint8Array, at: number) => into.set(bytes.subarray(at, at + into.length)),
  });
  const files = [
    ...sampleContent(7, join(output, 't.json')).files.slice(0, 2),
    tensorFiles('model', [entry('w', 'BF16', model)]),
    tensorFiles('optimizer', [entry('w.master', 'F32', optimizer)]),
  ];
  return (await writeCheckpoint(output, 7, { manifestFields, files }, { keepLast: 1 })).path;
}

test('export: as trained, in bf16, and in fp32 from the masters', async () => {
  const output = scratchOutput();
  const masters = [1, 1.0001, -3.7, 1e-40, Number.POSITIVE_INFINITY, 0];
  const checkpoint = await saveMixed(output, masters);
  const exported = async (name: string, ...flags: string[]) => {
    const target = join(output, name);
    const ended = await runCli(['checkpoint', 'export', output, target, ...flags]);
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    const source = openSafetensorsFolder(target);
    const { dtype, bytes } = source.info('w');
    const into = new Uint8Array(bytes);
    source.readInto('w', into);
    source.close();
    expect(existsSync(join(target, 'tokenizer.json'))).toBe(true);
    return {
      dtype,
      into,
      stdout: ended.stdout,
      config: JSON.parse(readFileSync(join(target, 'config.json'), 'utf8')) as object,
    };
  };
  const wide = await exported('wide', '--dtype', 'fp32');
  expect(wide).toMatchObject({ dtype: 'F32', into: f32(masters), config: { dtype: 'float32' } });
  expect(wide.stdout).toContain('1 of them from the master weights');
  const plain = await exported('plain');
  expect(plain.dtype).toBe('BF16');
  expect(await exported('narrow', '--dtype', 'bf16')).toMatchObject({
    dtype: 'BF16',
    into: plain.into,
    config: { dtype: 'bfloat16' },
  });

  const again = await runCli(['checkpoint', 'export', output, join(output, 'plain')]);
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('is not empty') });
  expect((await runCli(['checkpoint', 'export', output, join(output, 'x'), '--dtype', 'fp8'])).code).toBe(2);
  flipLast(join(checkpoint, 'model/model.safetensors'));
  const damaged = await runCli(['checkpoint', 'export', checkpoint, join(output, 'y')]);
  expect(damaged).toMatchObject({ code: 1, stderr: expect.stringContaining('has checksum') });
  expect(readdirSync(output).sort()).toEqual(['checkpoints', 'narrow', 'plain', 't.json', 'wide']);
});

test('fp32 weights are rounded to nearest even on their way to bf16', async () => {
  const output = scratchOutput();
  const { manifestFields, files } = sampleContent(7, join(output, 't.json'));
  const bits = Uint32Array.of(0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff, 0x7fa00000, 0x80000001);
  const bytes = new Uint8Array(bits.buffer);
  const read = (into: Uint8Array, at: number) => into.set(bytes.subarray(at, at + into.length));
  const model = tensorFiles('model', [{ name: 'w', dtype: 'F32', shape: [bits.length], read }]);
  await writeCheckpoint(output, 7, { manifestFields, files: [...files.slice(0, 1), model] }, { keepLast: 1 });
  await runCli(['checkpoint', 'export', output, join(output, 'out'), '--dtype', 'bf16']);
  const source = openSafetensorsFolder(join(output, 'out'));
  const into = new Uint8Array(bits.length * 2);
  source.readInto('w', into);
  source.close();
  // Ties go to the even neighbour, the largest number to infinity, a NaN stays one.
  expect([...new Uint16Array(into.buffer)].map((half) => half.toString(16))).toEqual([
    '3f80',
    '3f82',
    '3f81',
    '7f80',
    '7fe0',
    '8000',
  ]);
});
