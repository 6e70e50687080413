/**
 * Global tensors whose elements several processes wrote. A slice is a range of a tensor's elements in row-major order, so that
 * any partition (rows, flat chunks) can be written down and any other can be read from it.
 *
 * Writer w of n makes `<base>.slices-<w>-of-<n>.safetensors`. A tensor in it is called `<global name>:<first element>` and is
 * flat; the header's `tierraSlices` gives each one's global name, global shape and first element.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { check, TierraError } from '../../core/errors.ts';
import { withIo } from '../../core/files.ts';
import {
  dtypeBytes,
  openSafetensors,
  openSafetensorsFolder,
  type SafetensorsDtype,
  type SafetensorsFile,
  type TensorSource,
} from '../../tensor/safetensors/index.ts';
import { unknownTensor } from '../../tensor/safetensors/reader.ts';
import { type CheckpointFileWriter, type TensorEntry, tensorFiles } from './content.ts';

/** Elements `begin` to `begin + elements` of the global tensor `name`, read piece by piece. */
export interface TensorSlice {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  /** Of the whole tensor. */
  readonly shape: readonly number[];
  readonly begin: number;
  readonly elements: number;
  /** Fills `into` with the slice's bytes from `byteOffset` (within the slice) on. */
  read(into: Uint8Array, byteOffset: number): void | Promise<void>;
}

interface SliceInfo {
  readonly name: string;
  readonly shape: readonly number[];
  readonly begin: number;
}

const metadataKey = 'tierraSlices';
const countOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
const padded = (value: number): string => String(value).padStart(5, '0');

/** This writer's slices as one file in the subfolder `folder`. */
export function sliceFiles(
  folder: string,
  { writer, writers }: { writer: number; writers: number },
  slices: readonly TensorSlice[],
): CheckpointFileWriter {
  const infos: Record<string, SliceInfo> = {};
  const entries = slices.map(({ name, dtype, shape, begin, elements, read }): TensorEntry => {
    check(
      begin >= 0 && elements >= 0 && begin + elements <= countOf(shape),
      `${name} has ${countOf(shape)} elements; ${elements} from ${begin} are not a slice of it`,
    );
    const key = `${name}:${begin}`;
    infos[key] = { name, shape, begin };
    return { name: key, dtype, shape: [elements], read };
  });
  return tensorFiles(folder, entries, {
    baseName: `${folder}.slices-${padded(writer)}-of-${padded(writers)}`,
    maxShardBytes: Number.MAX_SAFE_INTEGER,
    metadata: { format: 'pt', [metadataKey]: JSON.stringify(infos) },
  });
}

/** The tensors of `<folder>`, whole files or slices alike. Throws `E_CORRUPT` unless slices cover every tensor exactly once. */
export function openTensors(folder: string, baseName: string): TensorSource {
  const pattern = new RegExp(`^${baseName}\\.slices-(\\d{5})-of-(\\d{5})\\.safetensors$`);
  const names = withIo('list', folder, () => readdirSync(folder)).filter((name) => pattern.test(name));
  if (names.length === 0) return openSafetensorsFolder(folder, baseName);
  const writers = Number(pattern.exec(names[0]!)![2]);
  if (names.length !== writers) {
    throw corrupt(folder, `has the slices of ${names.length} writers, their names say that there were ${writers}`);
  }
  const files: SafetensorsFile[] = [];
  try {
    for (const name of names.sort()) files.push(openSafetensors(join(folder, name)));
    return new SlicedSource(folder, files);
  } catch (error) {
    for (const file of files) file.close();
    throw error;
  }
}

interface Piece {
  readonly file: SafetensorsFile;
  readonly key: string;
  /** In bytes of the global tensor. */
  readonly begin: number;
  readonly end: number;
}

interface SlicedTensor {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly bytes: number;
  readonly pieces: Piece[];
}

class SlicedSource implements TensorSource {
  readonly #folder: string;
  readonly #files: readonly SafetensorsFile[];
  readonly #tensors = new Map<string, SlicedTensor>();

  constructor(folder: string, files: readonly SafetensorsFile[]) {
    this.#folder = folder;
    this.#files = files;
    for (const file of files) this.#add(file);
    for (const [name, tensor] of this.#tensors) this.#checkCover(name, tensor);
  }

  #add(file: SafetensorsFile): void {
    const infos = readInfos(file);
    for (const [key, entry] of file.entries) {
      const info = Object.hasOwn(infos, key) ? infos[key] : undefined;
      if (!isInfo(info)) throw corrupt(file.path, `does not say which slice ${JSON.stringify(key)} is`);
      const size = dtypeBytes(entry.dtype);
      const known = this.#tensors.get(info.name);
      const tensor: SlicedTensor = known ?? {
        dtype: entry.dtype,
        shape: info.shape,
        bytes: countOf(info.shape) * size,
        pieces: [],
      };
      if (tensor.dtype !== entry.dtype || tensor.shape.join() !== info.shape.join()) {
        throw corrupt(file.path, `slices of ${info.name} disagree about its type or shape`);
      }
      const begin = info.begin * size;
      tensor.pieces.push({ file, key, begin, end: begin + file.info(key).bytes });
      this.#tensors.set(info.name, tensor);
    }
  }

  #checkCover(name: string, { pieces, bytes }: SlicedTensor): void {
    pieces.sort((a, b) => a.begin - b.begin || a.end - b.end);
    let at = 0;
    for (const { begin, end } of pieces) {
      if (begin !== at) {
        const what = begin > at ? 'nobody wrote' : 'two slices hold';
        throw corrupt(this.#folder, `${what} bytes ${Math.min(at, begin)} to ${Math.max(at, begin)} of ${name}`);
      }
      at = end;
    }
    if (at !== bytes) throw corrupt(this.#folder, `the slices of ${name} have ${at} bytes, the tensor has ${bytes}`);
  }

  names(): readonly string[] {
    return [...this.#tensors.keys()];
  }

  info(name: string): SlicedTensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw unknownTensor(this.#folder, name, this.#tensors.keys());
    return tensor;
  }

  readInto(name: string, into: Uint8Array, byteOffset = 0): void {
    const { pieces, bytes } = this.info(name);
    const last = byteOffset + into.length;
    check(byteOffset >= 0 && last <= bytes, `${name} has ${bytes} bytes; cannot read ${into.length} at ${byteOffset}`);
    for (const { file, key, begin, end } of pieces) {
      const [from, to] = [Math.max(begin, byteOffset), Math.min(end, last)];
      if (from < to) file.readInto(key, into.subarray(from - byteOffset, to - byteOffset), from - begin);
    }
  }

  close(): void {
    for (const file of this.#files) file.close();
  }
}

function readInfos(file: SafetensorsFile): Record<string, unknown> {
  const text = file.metadata.get(metadataKey);
  let infos: unknown;
  try {
    infos = JSON.parse(text ?? '');
  } catch {}
  if (typeof infos !== 'object' || infos === null) throw corrupt(file.path, `has no readable ${metadataKey}`);
  return infos as Record<string, unknown>;
}

function isInfo(info: unknown): info is SliceInfo {
  const { name, shape, begin } = (info ?? {}) as Partial<SliceInfo>;
  const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
  return typeof name === 'string' && Array.isArray(shape) && shape.every(isCount) && isCount(begin);
}

function corrupt(path: string, reason: string): TierraError {
  return new TierraError('E_CORRUPT', `${path}: ${reason}`, {
    hint: 'Use another checkpoint of the run, or restore this one from a copy.',
    details: { path },
  });
}
