import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { check, TierraError } from '../../core/errors.ts';
import { readUpTo, withIo } from '../../core/files.ts';
import { nearest } from '../../core/nearest.ts';
import { corrupt, maxHeaderBytes, parseHeader, type SafetensorsEntry, type TensorInfo } from './header.ts';
import { showName } from './strictJson.ts';

/** Named tensors that can be read in part: one file, or a folder of shards. */
export interface TensorSource {
  names(): readonly string[];
  info(name: string): TensorInfo & { readonly bytes: number };
  /** Fills `into` with the tensor's bytes from `byteOffset` on. */
  readInto(name: string, into: Uint8Array, byteOffset?: number): void;
  close(): void;
}

/** An open, fully validated safetensors file. Holds one file descriptor until `close()`. */
export class SafetensorsFile implements TensorSource {
  readonly path: string;
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: ReadonlyMap<string, string>;
  /** Where the data section starts in the file. */
  readonly dataStart: number;
  #fd: number | undefined;

  /** Opens and validates; `openSafetensors` is the usual way in. */
  constructor(path: string) {
    this.path = path;
    // Without O_NONBLOCK, opening a named pipe would wait for a writer.
    const fd = withIo('open', path, () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
    try {
      const { text, fileBytes, dataStart } = readHeaderText(fd, path);
      const header = parseHeader(text, fileBytes - dataStart, path);
      this.entries = header.entries;
      this.metadata = header.metadata;
      this.dataStart = dataStart;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    this.#fd = fd;
  }

  names(): readonly string[] {
    return [...this.entries.keys()];
  }

  info(name: string): TensorInfo & { readonly bytes: number } {
    const { dtype, shape, begin, end } = this.#entry(name);
    return { dtype, shape, bytes: end - begin };
  }

  /**
   * Fills `into` with the tensor's bytes from `byteOffset` on. Short reads are continued. Throws `E_ARGUMENT` for an
   * unknown name or a range outside the tensor, `E_CORRUPT` when the file has become shorter since it was opened.
   */
  readInto(name: string, into: Uint8Array, byteOffset = 0): void {
    if (this.#fd === undefined) throw new TierraError('E_STATE', `${this.path}: read after close()`);
    const { begin, end } = this.#entry(name);
    const bytes = end - begin;
    check(
      Number.isSafeInteger(byteOffset) && byteOffset >= 0 && byteOffset + into.length <= bytes,
      `${this.path}: tensor ${showName(name)} has ${bytes} bytes; cannot read ${into.length} at ${byteOffset}`,
    );
    const position = this.dataStart + begin + byteOffset;
    const got = readUpTo(this.#fd, into, position, this.path);
    if (got < into.length) {
      const reason = `tensor ${showName(name)}: the file ends after ${got} of ${into.length} bytes at ${position}`;
      throw corrupt(this.path, `${reason}; it was cut after it was opened`, { tensor: name, position, got });
    }
  }

  close(): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #entry(name: string): SafetensorsEntry {
    const entry = this.entries.get(name);
    if (entry !== undefined) return entry;
    throw unknownTensor(this.path, name, this.entries.keys());
  }
}

/** Opens a safetensors file and validates its whole header. `E_IO` when it cannot be read, `E_CORRUPT` when malformed. */
export function openSafetensors(path: string): SafetensorsFile {
  return new SafetensorsFile(path);
}

/** `E_ARGUMENT` for a name that is not there, with the nearest one that is. */
export function unknownTensor(path: string, name: string, known: Iterable<string>): TierraError {
  const near = nearest(name, similarLength(name, known));
  return new TierraError('E_ARGUMENT', `${path}: there is no tensor ${showName(name)}`, {
    hint: near === undefined ? 'List the names with names().' : `The nearest name is "${near}".`,
  });
}

function readHeaderText(fd: number, path: string): { text: string; fileBytes: number; dataStart: number } {
  const stat = withIo('read', path, () => fstatSync(fd));
  if (!stat.isFile()) throw corrupt(path, 'is not a regular file');
  const fileBytes = stat.size;
  const prefix = new Uint8Array(9);
  const got = readUpTo(fd, prefix, 0, path);
  if (got < 8) throw corrupt(path, `has ${fileBytes} bytes, too few for the 8-byte header length`, { fileBytes });
  const declared = new DataView(prefix.buffer).getBigUint64(0, true);
  if (declared > BigInt(maxHeaderBytes)) {
    throw corrupt(path, `the header length is ${declared}, more than the ${maxHeaderBytes} bytes that are allowed`);
  }
  const headerBytes = Number(declared);
  if (headerBytes > fileBytes - 8) {
    throw corrupt(path, `the header length is ${headerBytes}, but only ${fileBytes - 8} bytes follow it`);
  }
  if (headerBytes < 2 || prefix[8] !== 0x7b) throw corrupt(path, 'the header does not start with "{"');
  const header = new Uint8Array(headerBytes);
  if (readUpTo(fd, header, 8, path) < headerBytes) throw corrupt(path, 'was cut while its header was read');
  return { text: decodeUtf8(header, path), fileBytes, dataStart: 8 + headerBytes };
}

function decodeUtf8(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw corrupt(path, 'the header is not valid UTF-8');
  }
}

/** Edit distance is quadratic: leave out the names that are too long or too short to be a slip. */
function* similarLength(name: string, known: Iterable<string>): Iterable<string> {
  for (const candidate of known) {
    if (candidate.length <= 200 && Math.abs(candidate.length - name.length) <= 8) yield candidate;
  }
}
