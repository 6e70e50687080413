import { TierraError } from '../../core/errors.ts';
import { nearest } from '../../core/nearest.ts';
import { isSafetensorsDtype, type SafetensorsDtype, safetensorsDtypes, tensorBytes } from './dtypes.ts';
import { type Json, type JsonObject, parseStrictJson, showJson, showName } from './strictJson.ts';

/** The format's own limit on the JSON header. */
export const maxHeaderBytes = 100_000_000;
const limits = { maxDepth: 3, maxArrayLength: 64, maxKeys: 4_000_000 };

export interface TensorInfo {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
}

/** `begin` and `end` count from the start of the data section, as in the header. */
export interface SafetensorsEntry extends TensorInfo {
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly entries: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** `E_CORRUPT` about one file. */
export function corrupt(path: string, reason: string, details: Record<string, unknown> = {}): TierraError {
  return new TierraError('E_CORRUPT', `${path}: ${reason}`, {
    hint: 'The file is damaged, incomplete or not a safetensors file: fetch or convert it again.',
    details: { path, ...details },
  });
}

/**
 * Reads the JSON header of a safetensors file and checks everything a reader will rely on: known element types, sizes
 * that agree with shapes, and tensors that tile the `dataBytes` of the data section without holes or overlaps.
 * Throws `E_CORRUPT` with the file, the tensor and the numbers. https://huggingface.co/docs/safetensors
 */
export function parseHeader(text: string, dataBytes: number, path: string): SafetensorsHeader {
  const root = parseStrictJson(text, `${path}: header`, limits);
  if (!(root instanceof Map)) throw corrupt(path, `the header is ${showJson(root)}, not an object`);
  const entries = new Map<string, SafetensorsEntry>();
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, value] of root as JsonObject) {
    if (name === '__metadata__') metadata = readMetadata(value, path);
    else entries.set(name, readEntry(name, value, dataBytes, path));
  }
  checkTiling(entries, dataBytes, path);
  return { entries, metadata };
}

function readMetadata(value: Json, path: string): ReadonlyMap<string, string> {
  if (!(value instanceof Map)) throw corrupt(path, `__metadata__ is ${showJson(value)}, not an object of strings`);
  for (const [key, text] of value as JsonObject) {
    if (typeof text !== 'string') {
      throw corrupt(path, `__metadata__ key ${showName(key)} holds ${showJson(text)}, not a string`, { key });
    }
  }
  return value as ReadonlyMap<string, string>;
}

function readEntry(name: string, value: Json, dataBytes: number, path: string): SafetensorsEntry {
  const label = showName(name);
  const refuse = (reason: string, details: Record<string, unknown> = {}): never => {
    throw corrupt(path, `tensor ${label}: ${reason}`, { tensor: name, ...details });
  };
  if (!(value instanceof Map)) return refuse(`its entry is ${showJson(value)}, not an object`);
  const fields = value as JsonObject;
  for (const key of fields.keys()) {
    if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') refuse(`unknown field ${showName(key)}`);
  }
  const dtype = fields.get('dtype');
  if (typeof dtype !== 'string' || !isSafetensorsDtype(dtype)) return refuse(unknownDtype(dtype));

  const shape = fields.get('shape');
  if (!Array.isArray(shape)) return refuse(`shape is ${showJson(shape)}, not a list`);
  for (const size of shape as readonly Json[]) {
    if (typeof size !== 'number' || size < 0) refuse(`shape ${showJson(shape)} must hold integers from 0 to 2^53 - 1`);
  }
  const bytes = tensorBytes(dtype, shape as number[]);
  if (bytes === undefined) return refuse(`shape ${showJson(shape)} of ${dtype} has more than 2^53 - 1 bytes`);

  const offsets = fields.get('data_offsets');
  const [begin, end] = Array.isArray(offsets) && offsets.length === 2 ? offsets : [];
  if (typeof begin !== 'number' || typeof end !== 'number' || begin < 0 || end < begin) {
    return refuse(`data_offsets ${showJson(offsets)} are not [begin, end] with 0 <= begin <= end < 2^53`);
  }
  if (end > dataBytes) {
    refuse(`data_offsets [${begin}, ${end}] reach past the ${dataBytes} bytes of data in the file`, { begin, end });
  }
  if (end - begin !== bytes) {
    const size = `shape ${showJson(shape)} of ${dtype} takes ${bytes} bytes`;
    refuse(`${size}, but data_offsets [${begin}, ${end}] span ${end - begin}`, { begin, end, bytes });
  }
  return { dtype, shape: shape as number[], begin, end };
}

/** Contiguity leaves no room for foreign bytes: a file that is also something else (a zip, a script) is refused. */
function checkTiling(entries: ReadonlyMap<string, SafetensorsEntry>, dataBytes: number, path: string): void {
  const order = [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let expected = 0;
  let previous = 'the start of the data';
  for (const [name, { begin, end }] of order) {
    if (begin !== expected) {
      const fault =
        begin < expected
          ? `overlaps ${previous}, which ends at ${expected}`
          : `leaves a hole of ${begin - expected} bytes after ${previous}`;
      throw corrupt(path, `tensor ${showName(name)}: starts at ${begin} and ${fault}`, {
        tensor: name,
        begin,
        expected,
      });
    }
    expected = end;
    previous = `tensor ${showName(name)}`;
  }
  if (expected !== dataBytes) {
    const reason = `the tensors end at ${expected}, but the file has ${dataBytes} bytes of data`;
    throw corrupt(path, `${reason}: ${dataBytes - expected} bytes belong to no tensor`, { expected, dataBytes });
  }
}

function unknownDtype(dtype: Json | undefined): string {
  if (typeof dtype !== 'string') return `dtype is ${showJson(dtype)}, not a string`;
  const near = dtype.length > 16 ? undefined : nearest(dtype, safetensorsDtypes);
  return `unknown dtype ${showName(dtype)}${near === undefined ? '' : ` (did you mean ${near}?)`}`;
}
