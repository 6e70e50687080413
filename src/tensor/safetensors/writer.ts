import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { check, TierraError } from '../../core/errors.ts';
import { fsyncFile, withIo, writeFully } from '../../core/files.ts';
import { roundUp } from '../../core/units.ts';
import { dtypeBytes, tensorBytes } from './dtypes.ts';
import { maxHeaderBytes, type TensorInfo } from './header.ts';
import { showName } from './strictJson.ts';

/** What is said about a tensor before its bytes are written. */
export interface TensorDeclaration extends TensorInfo {
  readonly name: string;
}

export interface WriterOptions {
  /** Free strings for the header. `{ format: 'pt' }` by default: transformers refuses files without it. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** The data section starts at a multiple of this many bytes: 8 by default; 4096 suits direct I/O. */
  readonly dataAlignment?: number;
}

/** A finished file; the hash is of the bytes handed to the kernel, not of what was read back. */
export interface WrittenFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

interface Slot {
  readonly name: string;
  readonly begin: number;
  readonly bytes: number;
  written: number;
}

/**
 * Writes one safetensors file from pieces, without ever holding a tensor: the header goes out first, from the
 * declarations alone. Tensors lie in the file widest element first (so that each is aligned to its element, as readers
 * that map the file need) and otherwise in the order declared; `layout` is that order and `write` follows it.
 */
export class SafetensorsWriter {
  readonly path: string;
  /** Bytes the finished file will have. */
  readonly fileBytes: number;
  readonly #slots: readonly Slot[];
  readonly #dataStart: number;
  readonly #hash: Hash = createHash('sha256');
  #current = 0;
  #fd: number | undefined;

  /** Creates the file, which must not exist, and writes its header. */
  constructor(path: string, tensors: readonly TensorDeclaration[], options: WriterOptions = {}) {
    this.path = path;
    const { slots, dataBytes } = layOut(tensors);
    const header = encodeHeader(slots, tensors, options);
    this.#slots = slots;
    this.#dataStart = header.length;
    this.fileBytes = header.length + dataBytes;
    this.#fd = withIo('create', path, () => openSync(path, 'wx'));
    this.#put(header, 0);
  }

  /** Tensor names in the order in which their bytes must come. */
  get layout(): readonly string[] {
    return this.#slots.map((slot) => slot.name);
  }

  /**
   * Appends a piece: `bytes` of tensor `name` from byte `offset` of that tensor. Pieces come in file order, so that one
   * pass writes and hashes. Throws `E_ARGUMENT` for a piece out of order or too long, `E_IO` when the disk refuses. Empty
   * pieces are ignored, so a tensor without elements needs no special case.
   */
  write(name: string, bytes: Uint8Array, offset = 0): void {
    if (bytes.length === 0) return;
    const slot = this.#next();
    check(
      slot !== undefined && slot.name === name && slot.written === offset && offset + bytes.length <= slot.bytes,
      `${this.path}: got ${bytes.length} bytes of ${showName(name)} at ${offset}, expected ${describe(slot)}`,
      { hint: 'Write the tensors in the order of `layout`, each from its first byte to its last.' },
    );
    this.#put(bytes, this.#dataStart + slot.begin + offset);
    slot.written += bytes.length;
  }

  /** Flushes to the device and closes. `E_STATE` when bytes are missing. */
  finish(): WrittenFile {
    const missing = this.#next();
    if (missing !== undefined) {
      throw new TierraError('E_STATE', `${this.path}: finished too early, still expecting ${describe(missing)}`);
    }
    fsyncFile(this.#open(), this.path);
    this.close();
    return { path: this.path, bytes: this.fileBytes, sha256: this.#hash.digest('hex') };
  }

  /** Closes without finishing; the file stays as it is, for its owner to remove. */
  close(): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #open(): number {
    if (this.#fd === undefined) throw new TierraError('E_STATE', `${this.path}: written after it was closed`);
    return this.#fd;
  }

  #put(bytes: Uint8Array, position: number): void {
    writeFully(this.#open(), bytes, position, this.path);
    this.#hash.update(bytes);
  }

  #next(): Slot | undefined {
    while (this.#slots[this.#current]?.written === this.#slots[this.#current]?.bytes) {
      if (this.#current >= this.#slots.length) return undefined;
      this.#current += 1;
    }
    return this.#slots[this.#current];
  }
}

function describe(slot: Slot | undefined): string {
  if (slot === undefined) return 'nothing more';
  return `${slot.bytes - slot.written} bytes of ${showName(slot.name)} at ${slot.written}`;
}

/** Bytes of a declared tensor; `E_ARGUMENT` when the declaration makes no sense. */
export function declaredBytes({ name, dtype, shape }: TensorDeclaration): number {
  const bytes = shape.every((size) => Number.isSafeInteger(size) && size >= 0) ? tensorBytes(dtype, shape) : undefined;
  check(bytes !== undefined, `tensor ${showName(name)}: cannot write shape [${shape.join(', ')}] of ${dtype}`);
  return bytes;
}

/** The order in which tensors lie in a file: widest element first, else as declared (the sort is stable). */
export function fileOrder(tensors: readonly TensorDeclaration[]): TensorDeclaration[] {
  return [...tensors].sort((a, b) => dtypeBytes(b.dtype) - dtypeBytes(a.dtype));
}

/** The first bytes of a file with these tensors, and the tensors in the order in which their bytes follow. */
export function safetensorsHeader(
  tensors: readonly TensorDeclaration[],
  options: WriterOptions = {},
): { readonly header: Uint8Array; readonly order: readonly TensorDeclaration[]; readonly fileBytes: number } {
  const { slots, dataBytes } = layOut(tensors);
  const header = encodeHeader(slots, tensors, options);
  return { header, order: fileOrder(tensors), fileBytes: header.length + dataBytes };
}

function layOut(tensors: readonly TensorDeclaration[]): { slots: Slot[]; dataBytes: number } {
  const names = new Set<string>();
  let dataBytes = 0;
  const slots = fileOrder(tensors).map((tensor): Slot => {
    const { name } = tensor;
    check(name !== '__metadata__', 'a tensor cannot be called "__metadata__": safetensors keeps that name for itself');
    check(!names.has(name), `tensor ${showName(name)} is declared twice`);
    names.add(name);
    const begin = dataBytes;
    const bytes = declaredBytes(tensor);
    dataBytes += bytes;
    return { name, begin, bytes, written: 0 };
  });
  return { slots, dataBytes };
}

function encodeHeader(
  slots: readonly Slot[],
  tensors: readonly TensorDeclaration[],
  { metadata = { format: 'pt' }, dataAlignment = 8 }: WriterOptions,
): Uint8Array {
  check(
    Number.isSafeInteger(dataAlignment) && dataAlignment >= 8 && dataAlignment % 8 === 0,
    `dataAlignment must be a multiple of 8, got ${dataAlignment}`,
  );
  const infos = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const member = (key: string, value: unknown): string => `${JSON.stringify(key)}:${JSON.stringify(value)}`;
  const members = Object.keys(metadata).length === 0 ? [] : [member('__metadata__', metadata)];
  for (const { name, begin, bytes } of slots) {
    const { dtype, shape } = infos.get(name)!;
    members.push(member(name, { dtype, shape, data_offsets: [begin, begin + bytes] }));
  }
  const json = Buffer.from(`{${members.join(',')}}`);
  const dataStart = roundUp(8 + json.length, dataAlignment);
  check(dataStart - 8 <= maxHeaderBytes, `the header of ${slots.length} tensors takes ${json.length} bytes`, {
    hint: `safetensors allows ${maxHeaderBytes} bytes: use more and smaller shards.`,
  });
  const header = Buffer.alloc(dataStart, ' ');
  header.writeBigUInt64LE(BigInt(dataStart - 8), 0);
  json.copy(header, 8);
  return header;
}
