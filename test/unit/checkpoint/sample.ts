import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import {
  checkpointsFolder,
  type KeepPolicy,
  readManifest,
  writeCheckpoint,
} from '../../../src/engine/checkpoint/index.ts';
import { openSafetensorsFolder, tensorBytes } from '../../../src/tensor/safetensors/index.ts';
import { bytesAt, sampleContent } from './content.ts';

/** An output folder of its own for the running test, removed after it. */
export function scratchOutput(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tierra-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Saves the miniature checkpoint of `step`; returns its folder. */
export async function save(output: string, step: number, policy: KeepPolicy = { keepLast: 10 }): Promise<string> {
  const content = sampleContent(step, join(output, 'tokenizer.json'));
  return (await writeCheckpoint(output, step, content, policy)).path;
}

/** The names beside the checkpoints, sorted. */
export function names(output: string): string[] {
  return readdirSync(checkpointsFolder(output)).sort();
}

/** Loads everything in the checkpoint and demands that all of it is of `step`. */
export function expectWholly(folder: string, step: number): void {
  expect(readManifest(folder)).toMatchObject({ step, schedule: { step }, dataPosition: { sample: step * 4 } });
  for (const part of ['model', 'optimizer']) {
    const source = openSafetensorsFolder(join(folder, part), part);
    for (const name of source.names()) {
      const { dtype, shape } = source.info(name);
      const into = Buffer.alloc(tensorBytes(dtype, shape)!);
      source.readInto(name, into);
      expect(into.equals(bytesAt(name, step, into.length)), `${part} ${name} is of step ${step}`).toBe(true);
    }
    expect(source.names()).toHaveLength(part === 'model' ? 4 : 8);
    source.close();
  }
  expect(readFileSync(join(folder, 'model/tokenizer.json'), 'utf8')).toBe('{"model":{}}');
}
