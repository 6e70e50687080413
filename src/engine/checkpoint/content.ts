import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { faultPoint } from '../../core/faults.ts';
import { fsyncFile, makeFolder, readUpTo, withIo, writeFully } from '../../core/files.ts';
import { MiB } from '../../core/units.ts';
import {
  ShardedSafetensorsWriter,
  type ShardOptions,
  type TensorDeclaration,
  tensorBytes,
  type WrittenFile,
  writeWholeFile,
} from '../../tensor/safetensors/index.ts';
import { checkInnerPath } from './manifest.ts';

const pieceBytes = 8 * MiB;

/** Some files of a checkpoint. `write` gets the folder being written and returns what it made, hashed as written. */
export interface CheckpointFileWriter {
  /** About how many bytes it will write, for the check of free space. */
  readonly bytes: number;
  write(folder: string): Promise<readonly WrittenFile[]>;
}

/** A tensor to save, read piece by piece, so that it may lie in host memory, on a GPU or on disk. */
export interface TensorEntry extends TensorDeclaration {
  /** Fills `into` with the tensor's bytes from `byteOffset` on, as they were when the save began. */
  read(into: Uint8Array, byteOffset: number): void | Promise<void>;
}

/** Tensors as safetensors files in the subfolder `folder` (`model`, `optimizer`), sharded and indexed as by Hugging Face. */
export function tensorFiles(
  folder: string,
  entries: readonly TensorEntry[],
  options: ShardOptions = {},
): CheckpointFileWriter {
  checkInnerPath(folder);
  const sizes = new Map(entries.map((entry) => [entry.name, tensorBytes(entry.dtype, entry.shape) ?? 0]));
  const dataBytes = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
  const headerBytes = entries.reduce((sum, { name }) => sum + 2 * Buffer.byteLength(name) + 200, 8192);
  return {
    bytes: dataBytes + headerBytes,
    async write(root) {
      const target = join(root, folder);
      makeFolder(target);
      const byName = new Map(entries.map((entry) => [entry.name, entry]));
      const buffer = new Uint8Array(Math.min(pieceBytes, Math.max(0, ...sizes.values())));
      using writer = new ShardedSafetensorsWriter(target, entries, { baseName: folder, ...options });
      for (const name of writer.layout) {
        const bytes = sizes.get(name)!;
        for (let offset = 0; offset < bytes; offset += pieceBytes) {
          const piece = buffer.subarray(0, Math.min(pieceBytes, bytes - offset));
          await byName.get(name)!.read(piece, offset);
          faultPoint('checkpoint.K2');
          writer.write(name, piece, offset);
        }
      }
      return writer.finish();
    },
  };
}

/** A small file with the given content; values other than text are written as JSON. */
export function contentFile(path: string, content: string | Uint8Array | object): CheckpointFileWriter {
  checkInnerPath(path);
  const isRaw = typeof content === 'string' || content instanceof Uint8Array;
  const bytes = Buffer.from(isRaw ? content : `${JSON.stringify(content, null, 2)}\n`);
  return {
    bytes: bytes.length,
    async write(root) {
      makeFolder(dirname(join(root, path)));
      return [writeWholeFile(join(root, path), bytes)];
    },
  };
}

/** A copy of an existing file, such as a tokenizer. */
export function copiedFile(path: string, from: string): CheckpointFileWriter {
  checkInnerPath(path);
  const { size } = withIo('read', from, () => statSync(from));
  return {
    bytes: size,
    async write(root) {
      makeFolder(dirname(join(root, path)));
      return [copyFile(from, join(root, path))];
    },
  };
}

function copyFile(from: string, to: string): WrittenFile {
  const source = withIo('open', from, () => openSync(from, 'r'));
  try {
    const target = withIo('create', to, () => openSync(to, 'wx'));
    try {
      const hash = createHash('sha256');
      const buffer = new Uint8Array(Math.min(pieceBytes, fstatSync(source).size + 1));
      let bytes = 0;
      for (;;) {
        const piece = buffer.subarray(0, readUpTo(source, buffer, bytes, from));
        writeFully(target, piece, bytes, to);
        hash.update(piece);
        bytes += piece.length;
        if (piece.length < buffer.length) break;
      }
      fsyncFile(target, to);
      return { path: to, bytes, sha256: hash.digest('hex') };
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
}
