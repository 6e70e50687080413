import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';

/** A file written to this shortly before it was hashed may be written to again without its time changing. */
const settledMs = 2000;
const memoName = 'file-hashes.json';

interface Entry {
  readonly stamp: string;
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Remembers content hashes by inode, size and both times, so that starting on a large corpus does not read it all again.
 * Only a shortcut: the cache's key stays the content's. A change that keeps all of these cannot be made without setting
 * the system's clock, as the inode's change time cannot be set. A lost or damaged memo costs reading the files once.
 */
export class FileHashes {
  readonly #file: string;
  readonly #entries: Map<string, Entry>;
  #changed = false;

  constructor(folder: string) {
    this.#file = path.join(folder, memoName);
    this.#entries = new Map(readEntries(this.#file));
  }

  get(file: string, stamp: string, bytes: number): string | undefined {
    const entry = this.#entries.get(file);
    return entry?.stamp === stamp && entry.bytes === bytes ? entry.sha256 : undefined;
  }

  /** `changedMs` is when the file last changed; too fresh a file is not remembered. */
  set(file: string, entry: Entry, changedMs: number): void {
    if (Date.now() - changedMs < settledMs) return;
    this.#entries.set(file, entry);
    this.#changed = true;
  }

  /** Writes aside and renames; of two processes the last one's memo stays, which loses nothing but time. */
  save(): void {
    if (!this.#changed) return;
    const aside = `${this.#file}.${process.pid}`;
    try {
      mkdirSync(path.dirname(this.#file), { recursive: true });
      const descriptor = openSync(aside, 'w');
      writeSync(descriptor, JSON.stringify([...this.#entries]));
      fsyncSync(descriptor);
      closeSync(descriptor);
      renameSync(aside, this.#file);
      this.#changed = false;
    } catch {
      // Without a memo everything works, only slower; what is wrong with the folder shows when tokens are written.
      rmSync(aside, { force: true });
    }
  }
}

function readEntries(file: string): [string, Entry][] {
  try {
    const entries: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return Array.isArray(entries) ? entries.filter(isEntry) : [];
  } catch {
    return [];
  }
}

function isEntry(item: unknown): item is [string, Entry] {
  const [file, entry] = Array.isArray(item) ? (item as [unknown, Partial<Entry> | null]) : [];
  return typeof file === 'string' && typeof entry?.stamp === 'string' && /^[0-9a-f]{64}$/.test(String(entry.sha256));
}
