import { mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';

/** A folder on a disk that the swap can use, in the working folder: `/tmp` is memory on some machines. */
export function scratchFolder(): { readonly path: string; dispose(): void } {
  const made = mkdtempSync(path.resolve('timeline-test-'));
  return { path: made, dispose: () => rmSync(made, { recursive: true, force: true }) };
}
