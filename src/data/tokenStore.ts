import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import path from 'node:path';
import { LRUCache } from 'lru-cache';
import { TierraError } from '../core/errors.ts';
import {
  headerBytes,
  idBytes,
  type Manifest,
  manifestName,
  parseManifest,
  type StreamEntry,
  type StreamName,
  shardHeader,
  shardName,
} from './shardFormat.ts';

/** Open descriptors kept per store; a 10 TB corpus has more shards than a process may have files. */
const openFiles = 64;

/**
 * Random access to one stream of a token cache. A read takes just the bytes asked for, with pread into a buffer that is
 * reused; what is read often stays in the operating system's page cache, so nothing is kept here.
 */
export class TokenStore {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly stream: StreamName;
  readonly entry: StreamEntry;
  readonly #files: LRUCache<string, { readonly descriptor: number }>;
  readonly #elementBytes: 2 | 4;
  #scratch = new ArrayBuffer(0);
  #disposed = false;

  /** Checks the manifest, and header and size of every shard. @throws E_CORRUPT, or the file system's error. */
  constructor(folder: string, key: string, stream: StreamName) {
    this.folder = folder;
    this.stream = stream;
    this.manifest = parseManifest(
      readFileSync(path.join(folder, manifestName), 'utf8'),
      key,
      path.join(folder, manifestName),
    );
    this.entry = this.manifest.streams[stream];
    this.#elementBytes = idBytes(this.manifest.vocabularySize);
    this.#files = new LRUCache({ max: openFiles, dispose: ({ descriptor }) => closeSync(descriptor) });
    try {
      this.#checkShards();
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  get tokens(): number {
    return this.entry.tokens;
  }

  /**
   * Reads ids [start, start + count) into `into`, and into `trained` whether the loss counts each (1 or 0).
   * @throws E_CORRUPT for a shard that got shorter or an id outside the vocabulary.
   */
  read(start: number, count: number, into: Int32Array, trained?: Uint8Array): void {
    if (start < 0 || start + count > this.entry.tokens || into.length < count) {
      throw new TierraError(
        'E_ARGUMENT',
        `token store: ${count} ids from ${start} of ${this.entry.tokens} into ${into.length}`,
      );
    }
    const { shardTokens } = this.manifest;
    for (let done = 0; done < count; ) {
      const shard = Math.floor((start + done) / shardTokens);
      const offset = (start + done) % shardTokens;
      const take = Math.min(count - done, shardTokens - offset);
      this.#readIds(shard, offset, take, into, done);
      if (trained !== undefined) this.#readMask(shard, offset, take, trained, done);
      done += take;
    }
  }

  /** Reads everything and compares with the recorded SHA-256. @throws E_CORRUPT */
  verify(): void {
    const ids = createHash('sha256');
    const mask = createHash('sha256');
    const { shardTokens } = this.manifest;
    for (let at = 0; at < this.entry.tokens; ) {
      const shard = Math.floor(at / shardTokens);
      const offset = at % shardTokens;
      const take = Math.min(shardTokens - offset, 1 << 20, this.entry.tokens - at);
      ids.update(this.#bytes(shard, 'ids', offset * this.#elementBytes, take * this.#elementBytes));
      if (this.entry.masked) mask.update(this.#bytes(shard, 'mask', offset, take));
      at += take;
    }
    const hash = createHash('sha256').update(ids.digest()).update(mask.digest());
    if (hash.digest('hex') !== this.entry.sha256) {
      throw new TierraError('E_CORRUPT', `${this.folder}: the ${this.stream} tokens are not those that were written`);
    }
  }

  dispose(): void {
    this.#disposed = true;
    this.#files.clear();
  }

  #readIds(shard: number, offset: number, count: number, into: Int32Array, at: number): void {
    const bytes = this.#bytes(shard, 'ids', offset * this.#elementBytes, count * this.#elementBytes);
    const ids =
      this.#elementBytes === 2
        ? new Uint16Array(bytes.buffer, bytes.byteOffset, count)
        : new Uint32Array(bytes.buffer, bytes.byteOffset, count);
    let largest = 0;
    for (let index = 0; index < count; index++) {
      const id = ids[index]!;
      if (id > largest) largest = id;
      into[at + index] = id;
    }
    if (largest < this.manifest.vocabularySize) return;
    const name = path.join(this.folder, shardName(this.stream, shard, 'ids'));
    throw new TierraError(
      'E_CORRUPT',
      `${name}: id ${largest} between tokens ${offset} and ${offset + count}, but the vocabulary has ${this.manifest.vocabularySize}`,
      { hint: `Remove ${this.folder}; it is built again from the data files.` },
    );
  }

  #readMask(shard: number, offset: number, count: number, into: Uint8Array, at: number): void {
    if (this.entry.masked) into.set(this.#bytes(shard, 'mask', offset, count), at);
    else into.fill(1, at, at + count);
  }

  /** A view of the scratch buffer, good until the next read. */
  #bytes(shard: number, kind: 'ids' | 'mask', offset: number, count: number): Uint8Array {
    if (this.#scratch.byteLength < count) this.#scratch = new ArrayBuffer(Math.max(count, 64 * 1024));
    const view = new Uint8Array(this.#scratch, 0, count);
    const name = shardName(this.stream, shard, kind);
    const descriptor = this.#descriptor(name);
    for (let done = 0; done < count; ) {
      const got = readSync(descriptor, view, done, count - done, headerBytes + offset + done);
      if (got === 0) {
        throw new TierraError(
          'E_CORRUPT',
          `${path.join(this.folder, name)} ended after ${done} of ${count} bytes at ${offset}`,
          {
            hint: `Remove ${this.folder}; it is built again from the data files.`,
          },
        );
      }
      done += got;
    }
    return view;
  }

  #descriptor(name: string): number {
    if (this.#disposed) throw new TierraError('E_STATE', `${this.folder}: the token store has been disposed`);
    const open = this.#files.get(name);
    if (open !== undefined) return open.descriptor;
    const descriptor = openSync(path.join(this.folder, name), 'r');
    this.#files.set(name, { descriptor });
    return descriptor;
  }

  #checkShards(): void {
    const { tokens, masked } = this.entry;
    const { shardTokens, key } = this.manifest;
    const header = Buffer.alloc(headerBytes);
    for (let shard = 0; shard * shardTokens < tokens; shard++) {
      const inShard = Math.min(shardTokens, tokens - shard * shardTokens);
      for (const kind of masked ? (['ids', 'mask'] as const) : (['ids'] as const)) {
        const file = path.join(this.folder, shardName(this.stream, shard, kind));
        const elementBytes = kind === 'ids' ? this.#elementBytes : 1;
        const expected = headerBytes + inShard * elementBytes;
        const size = statSync(file, { throwIfNoEntry: false })?.size;
        if (size !== expected) {
          throw new TierraError(
            'E_CORRUPT',
            `${file}: ${size === undefined ? 'missing' : `${size} bytes`}, expected ${expected} bytes`,
          );
        }
        const descriptor = this.#descriptor(path.basename(file));
        readSync(descriptor, header, 0, headerBytes, 0);
        if (!header.equals(shardHeader(key, this.stream, shard, elementBytes))) {
          throw new TierraError(
            'E_CORRUPT',
            `${file}: the header is not that of this cache (${fstatSync(descriptor).size} bytes)`,
          );
        }
      }
    }
  }
}
