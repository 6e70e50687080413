import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A folder of its own for the running test, removed after it. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tierra-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A safetensors file assembled by hand: whatever length, header and data one likes. */
export function assemble(path: string, header: string | Uint8Array, data = 0, length?: bigint): string {
  const text = Buffer.from(header);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(text.length));
  writeFileSync(path, Buffer.concat([prefix, text, Buffer.alloc(data, 1)]));
  return path;
}

/** The whole message of what `body` throws, with `path` written as FILE; fails when it throws nothing. */
export function messageOf(path: string, body: () => unknown): string {
  try {
    body();
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return `${code} ${message.replaceAll(path, 'FILE')}`;
  }
  throw new Error('expected an error');
}
