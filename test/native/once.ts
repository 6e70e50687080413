/** Checks that take long and can only change with the addon. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { native } from '../../src/native/load.ts';

const passed = path.resolve(import.meta.dirname, '../../build/passed');

/** Runs `check` unless it has passed here with an addon of the same sources: `build/` remembers by `name`. */
export function once(name: string, check: () => void): void {
  const { sourceHash } = native().buildInfo;
  const mark = path.join(passed, createHash('sha256').update(`${sourceHash} ${name}`).digest('hex'));
  if (sourceHash !== '' && existsSync(mark)) return;
  check();
  mkdirSync(passed, { recursive: true });
  writeFileSync(mark, `${name}\n`);
}
