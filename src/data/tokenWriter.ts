import { createHash, type Hash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { type StreamEntry, type StreamName, shardHeader, shardName, type TokenArray } from './shardFormat.ts';

const bufferTokens = 1 << 20;

export interface TokenWriterOptions {
  readonly folder: string;
  readonly stream: StreamName;
  readonly key: string;
  readonly elementBytes: 2 | 4;
  readonly shardTokens: number;
  readonly masked: boolean;
}

/** Writes one stream of ids, and its loss mask, as shards. Memory stays at a few MiB however long the stream is. */
export class TokenWriter {
  readonly #options: TokenWriterOptions;
  readonly #ids: TokenArray;
  readonly #mask: Uint8Array | null;
  readonly #idHash = createHash('sha256');
  readonly #maskHash = createHash('sha256');
  #buffered = 0;
  #tokens = 0;
  #shard = -1;
  #shardRoom = 0;
  #idFile = -1;
  #maskFile = -1;
  documents = 0;

  constructor(options: TokenWriterOptions) {
    this.#options = options;
    this.#ids = options.elementBytes === 2 ? new Uint16Array(bufferTokens) : new Uint32Array(bufferTokens);
    this.#mask = options.masked ? new Uint8Array(bufferTokens) : null;
  }

  get tokens(): number {
    return this.#tokens;
  }

  /** Adds ids; `trained` says whether the loss counts them (kept only in a masked stream). */
  append(ids: ArrayLike<number>, trained: boolean): void {
    for (let done = 0; done < ids.length; ) {
      const take = Math.min(ids.length - done, bufferTokens - this.#buffered);
      this.#ids.set(take === ids.length ? ids : slice(ids, done, done + take), this.#buffered);
      this.#mask?.fill(trained ? 1 : 0, this.#buffered, this.#buffered + take);
      this.#buffered += take;
      done += take;
      if (this.#buffered === bufferTokens) this.#flush();
    }
    this.#tokens += ids.length;
  }

  /** Writes what is left and makes every file durable. */
  finish(): StreamEntry {
    this.#flush();
    this.#closeShard(true);
    return {
      tokens: this.#tokens,
      documents: this.documents,
      masked: this.#options.masked,
      sha256: createHash('sha256').update(this.#idHash.digest()).update(this.#maskHash.digest()).digest('hex'),
    };
  }

  /** Closes files without making them durable; for the way out after an error. */
  abandon(): void {
    this.#closeShard(false);
  }

  #flush(): void {
    for (let from = 0; from < this.#buffered; ) {
      if (this.#shardRoom === 0) this.#openShard();
      const take = Math.min(this.#buffered - from, this.#shardRoom);
      write(this.#idFile, this.#idHash, this.#ids.subarray(from, from + take));
      if (this.#mask !== null) write(this.#maskFile, this.#maskHash, this.#mask.subarray(from, from + take));
      this.#shardRoom -= take;
      from += take;
    }
    this.#buffered = 0;
  }

  #openShard(): void {
    this.#closeShard(true);
    const { folder, stream, key, elementBytes, masked, shardTokens } = this.#options;
    const index = ++this.#shard;
    this.#shardRoom = shardTokens;
    this.#idFile = openSync(path.join(folder, shardName(stream, index, 'ids')), 'wx');
    writeFully(this.#idFile, shardHeader(key, stream, index, elementBytes));
    if (!masked) return;
    this.#maskFile = openSync(path.join(folder, shardName(stream, index, 'mask')), 'wx');
    writeFully(this.#maskFile, shardHeader(key, stream, index, 1));
  }

  #closeShard(durable: boolean): void {
    for (const file of [this.#idFile, this.#maskFile]) {
      if (file < 0) continue;
      if (durable) fsyncSync(file);
      closeSync(file);
    }
    this.#idFile = -1;
    this.#maskFile = -1;
  }
}

function slice(ids: ArrayLike<number>, from: number, to: number): ArrayLike<number> {
  return ArrayBuffer.isView(ids) ? (ids as Uint32Array).subarray(from, to) : Array.prototype.slice.call(ids, from, to);
}

function write(file: number, hash: Hash, values: TokenArray | Uint8Array): void {
  const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  hash.update(bytes);
  writeFully(file, bytes);
}

/** write(2) may take less than it was given. */
function writeFully(file: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.byteLength; ) done += writeSync(file, bytes, done, bytes.byteLength - done);
}
