import { createHash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { check, TierraError } from '../../core/errors.ts';
import { fsyncFile, withIo, writeFully } from '../../core/files.ts';
import { showName } from './strictJson.ts';
import {
  declaredBytes,
  fileOrder,
  SafetensorsWriter,
  safetensorsHeader,
  type TensorDeclaration,
  type WriterOptions,
  type WrittenFile,
} from './writer.ts';

/** The shard size that Hugging Face repositories are cut into. */
export const defaultShardBytes = 5e9;

export interface ShardOptions extends WriterOptions {
  /** Files are named after it: `model.safetensors`, `model-00001-of-00002.safetensors`, `model.safetensors.index.json`. */
  readonly baseName?: string;
  readonly maxShardBytes?: number;
}

/**
 * Writes tensors into a folder as Hugging Face does: one file when they fit `maxShardBytes`, else shards cut in the
 * order declared and an index. A tensor larger than a shard gets one of its own. One shard is open at a time.
 */
export class ShardedSafetensorsWriter {
  readonly folder: string;
  /** Tensor names in the order in which their bytes must come. */
  readonly layout: readonly string[];
  /** Bytes of tensor data, without headers. */
  readonly totalBytes: number;
  readonly #shards: readonly (readonly TensorDeclaration[])[];
  readonly #shardOf = new Map<string, number>();
  readonly #options: ShardOptions;
  readonly #finished: WrittenFile[] = [];
  #open: SafetensorsWriter | undefined;

  constructor(folder: string, tensors: readonly TensorDeclaration[], options: ShardOptions = {}) {
    this.folder = folder;
    this.#options = options;
    this.#shards = planShards(tensors, options.maxShardBytes ?? defaultShardBytes);
    this.totalBytes = tensors.reduce((sum, tensor) => sum + declaredBytes(tensor), 0);
    for (const [shard, members] of this.#shards.entries()) {
      for (const { name } of members) {
        check(!this.#shardOf.has(name), `tensor ${showName(name)} is declared twice`);
        this.#shardOf.set(name, shard);
      }
    }
    this.layout = this.#shards.flatMap(fileOrder).map((tensor) => tensor.name);
  }

  /** Appends a piece, in the order of `layout`; see `SafetensorsWriter.write`. */
  write(name: string, bytes: Uint8Array, offset = 0): void {
    const shard = this.#shardOf.get(name);
    check(shard !== undefined, `${this.folder}: tensor ${showName(name)} was not declared`);
    if (bytes.length === 0) return;
    while (this.#finished.length + (this.#open === undefined ? 0 : 1) <= shard) this.#advance();
    if (this.#open === undefined || this.#finished.length !== shard) {
      throw new TierraError('E_STATE', `${this.folder}: tensor ${showName(name)} belongs to a shard already finished`);
    }
    this.#open.write(name, bytes, offset);
  }

  /** Finishes the last shard and writes the index; returns every file written. `E_STATE` when bytes are missing. */
  finish(): readonly WrittenFile[] {
    while (this.#finished.length < this.#shards.length) {
      if (this.#open === undefined) this.#advance();
      this.#finished.push(this.#open!.finish());
      this.#open = undefined;
    }
    return this.#shards.length === 1 ? this.#finished : [...this.#finished, this.#writeIndex()];
  }

  /** Closes without finishing. */
  close(): void {
    this.#open?.close();
    this.#open = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Finishes the open shard, if any, and opens the next. */
  #advance(): void {
    if (this.#open !== undefined) this.#finished.push(this.#open.finish());
    this.#open = undefined;
    const index = this.#finished.length;
    this.#open = new SafetensorsWriter(join(this.folder, this.#fileName(index)), this.#shards[index]!, this.#options);
  }

  #fileName(index: number): string {
    return shardName(this.#options.baseName ?? 'model', index, this.#shards.length);
  }

  #writeIndex(): WrittenFile {
    const names = [...this.#shardOf].map(([name, shard]) => [name, this.#fileName(shard)] as const);
    const path = join(this.folder, indexName(this.#options.baseName));
    return writeWholeFile(path, Buffer.from(indexText(names, this.totalBytes)));
  }
}

const indexName = (baseName = 'model'): string => `${baseName}.safetensors.index.json`;

function indexText(names: readonly (readonly [string, string])[], totalBytes: number): string {
  const index = { metadata: { total_size: totalBytes }, weight_map: Object.fromEntries(names) };
  return `${JSON.stringify(index, null, 2)}\n`;
}

/** What a sharded writer would make, for whoever writes the tensors' bytes by other means. */
export interface ShardLayout {
  readonly files: readonly {
    readonly name: string;
    readonly header: Uint8Array;
    /** In the order in which their bytes follow the header. */
    readonly order: readonly TensorDeclaration[];
    readonly fileBytes: number;
  }[];
  /** The index of several shards. */
  readonly index: { readonly name: string; readonly text: string } | null;
}

export function layOutShards(tensors: readonly TensorDeclaration[], options: ShardOptions = {}): ShardLayout {
  const shards = planShards(tensors, options.maxShardBytes ?? defaultShardBytes);
  const nameOf = (index: number): string => shardName(options.baseName ?? 'model', index, shards.length);
  const files = shards.map((members, index) => ({ name: nameOf(index), ...safetensorsHeader(members, options) }));
  if (shards.length === 1) return { files, index: null };
  const names = shards.flatMap((members, index) => members.map(({ name }) => [name, nameOf(index)] as const));
  const totalBytes = tensors.reduce((sum, tensor) => sum + declaredBytes(tensor), 0);
  return { files, index: { name: indexName(options.baseName), text: indexText(names, totalBytes) } };
}

/** Cuts tensors, in order, into shards of at most `maxShardBytes` of data; always at least one. */
export function planShards(tensors: readonly TensorDeclaration[], maxShardBytes: number): TensorDeclaration[][] {
  check(maxShardBytes > 0, `a shard must hold at least one byte, got maxShardBytes ${maxShardBytes}`);
  const shards: TensorDeclaration[][] = [[]];
  let filled = 0;
  for (const tensor of tensors) {
    const bytes = declaredBytes(tensor);
    if (filled > 0 && filled + bytes > maxShardBytes) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)!.push(tensor);
    filled += bytes;
  }
  return shards;
}

/** `model.safetensors` alone, `model-00002-of-00003.safetensors` among several. */
export function shardName(baseName: string, index: number, count: number): string {
  if (count === 1) return `${baseName}.safetensors`;
  const pad = (value: number): string => String(value).padStart(5, '0');
  return `${baseName}-${pad(index + 1)}-of-${pad(count)}.safetensors`;
}

/** Creates a small file in one go, flushed to the device. */
export function writeWholeFile(path: string, bytes: Uint8Array): WrittenFile {
  const fd = withIo('create', path, () => openSync(path, 'wx'));
  try {
    writeFully(fd, bytes, 0, path);
    fsyncFile(fd, path);
  } finally {
    closeSync(fd);
  }
  return { path, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}
