/** Event files against what TensorBoard's own package writes (test/goldens/tensorboard/make.py). */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { crc32c, maskedCrc32c } from '../../../src/telemetry/tensorboard/crc32c.ts';
import { scalarEvent, textEvent, versionEvent } from '../../../src/telemetry/tensorboard/events.ts';
import { TensorboardRecord } from '../../../src/telemetry/tensorboard/tensorboardRecord.ts';
import { row } from '../runStore/support.ts';

const golden = JSON.parse(
  readFileSync(path.join(import.meta.dirname, '../../goldens/tensorboard/events.json'), 'utf8'),
) as Record<'version' | 'scalars' | 'text', string>;

it('CRC-32C is that of RFC 3720, appendix B.4', () => {
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43);
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
});

it('records are equal to the byte', () => {
  expect(versionEvent(1700000000.25).toString('hex')).toBe(golden.version);
  const values = [
    { tag: 'train/loss', value: 2.5 },
    { tag: 'train/norm', value: Number.POSITIVE_INFINITY },
  ];
  expect(scalarEvent({ seconds: 1700000000.5, step: 5_000_000_000, values }).toString('hex')).toBe(golden.scalars);
  expect(textEvent(1700000001, 3, 'config', 'seed: 1, tëxt').toString('hex')).toBe(golden.text);
});

function scratch(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'tierra-events-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** The messages of a file, every checksum compared. */
function messagesIn(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(bytes.readUInt32LE(at + 8)).toBe(maskedCrc32c(bytes.subarray(at, at + 8)));
    const message = bytes.subarray(at + 12, at + 12 + length);
    expect(bytes.readUInt32LE(at + 12 + length)).toBe(maskedCrc32c(message));
    messages.push(message);
    at += 16 + length;
  }
  return messages;
}

const run = { name: 'a', totalSteps: 9, completedSteps: 0, parameters: 1, device: 'cpu', precision: 'fp32' };
const failing = (text: string): never => {
  throw new Error(text);
};

it('a run makes one file: version, configuration, the first step, the last one, evaluations', () => {
  const folder = path.join(scratch(), 'below', 'tensorboard');
  const record = new TensorboardRecord({ folder, host: 'here', config: { seed: 1 }, onTrouble: failing });
  record.begin(run);
  for (let step = 1; step <= 5; step++) record.step(row(step));
  record.evaluation({ step: 5, loss: 3 });
  record.finish();
  record.dispose();
  const [name, ...others] = readdirSync(folder);
  expect(others).toEqual([]);
  expect(name).toMatch(/^events\.out\.tfevents\.\d{10}\.here\.\d+\.0$/);
  const messages = messagesIn(readFileSync(path.join(folder, name!))).map((message) => message.toString('latin1'));
  expect(messages[0]).toContain('brain.Event:2');
  expect(messages[1]).toContain('"seed": 1');
  expect(messages[2]).toContain('train/loss');
  expect(messages.some((message) => message.includes('evaluation/loss'))).toBe(true);
  expect(messages.at(-1)).toContain('speed/tokens_per_second');
});

it('says once that it cannot write, and the run goes on', () => {
  const folder = path.join(scratch(), 'file');
  writeFileSync(folder, '');
  const told: string[] = [];
  const record = new TensorboardRecord({ folder, host: 'here', config: {}, onTrouble: (text) => told.push(text) });
  record.begin(run);
  record.step(row(1));
  record.finish();
  record.dispose();
  expect(told).toHaveLength(1);
});
