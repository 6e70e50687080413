/**
 * Steps as bytes. A block is a version, a flag, then for each column its number, its encoding, the length of its
 * payload and the payload; behind the flag everything may be deflated. All is exact to the bit of the 32-bit floats,
 * except seconds, which keep three to four significant figures (a relative error of at most 2^-11).
 */
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import { check, TierraError } from '../../core/errors.ts';
import {
  bitsOf,
  fromPlanes,
  fromSecondDifferences,
  roundTo10Bits,
  secondDifferences,
  toPlanes,
  unzigzag,
  zigzag,
} from './bits.ts';
import { type ColumnName, type Columns, columnNames, emptyColumns } from './columns.ts';

const version = 1;
const headBytes = 2;
const columnHeadBytes = 6;
/** Below this many steps deflate saves nothing worth its time. */
const leastDeflatedSteps = 256;

/**
 * Planes are runs or noise: there are no longer matches to be found. A code table about every 4096 bytes, so that each plane
 * of a full block gets its own.
 */
const deflateOptions = { level: 1, strategy: constants.Z_RLE, memLevel: 6 };

/** How a column is written; the numbers are the file format. */
const encodings = { constant: 0, planes: 1, secondDifferences: 2, clipResiduals: 3 } as const;
type Encoding = (typeof encodings)[keyof typeof encodings];

/** All columns must have the same length. */
export function encodeBlock(columns: Columns): Buffer {
  const parts = columnNames.flatMap((name, number) => {
    const { encoding, payload } = encodeColumn(name, columns);
    const head = Buffer.alloc(columnHeadBytes);
    head.writeUInt8(number, 0);
    head.writeUInt8(encoding, 1);
    head.writeUInt32LE(payload.length, 2);
    return [head, payload];
  });
  const body = Buffer.concat(parts);
  const deflated = columns.loss.length >= leastDeflatedSteps;
  const stored = deflated ? deflateRawSync(body, deflateOptions) : body;
  return Buffer.concat([Buffer.from([version, deflated ? 1 : 0]), stored]);
}

/** The columns of a block of `steps` steps. Columns that it does not hold are NaN. Throws `E_CORRUPT`, `E_UNSUPPORTED`. */
export function decodeBlock(bytes: Uint8Array, steps: number): Columns {
  if (bytes[0] !== version) {
    throw new TierraError('E_UNSUPPORTED', `steps are stored in format ${bytes[0]}, this build reads ${version}`, {
      hint: 'Use the version of Tierra that wrote them, or a newer one.',
    });
  }
  try {
    const rest = bytes.subarray(headBytes);
    return decodeColumns(bytes[1] === 1 ? inflateRawSync(rest) : rest, steps);
  } catch (cause) {
    throw new TierraError('E_CORRUPT', 'stored steps are damaged', { cause });
  }
}

function decodeColumns(body: Uint8Array, steps: number): Columns {
  const columns = emptyColumns(steps);
  for (const name of columnNames) columns[name].fill(Number.NaN);
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  // Residuals need the norm, which comes before them: columns are decoded in the order of their numbers.
  for (let at = 0; at < body.length; ) {
    const name = columnNames[view.getUint8(at)];
    const encoding = view.getUint8(at + 1) as Encoding;
    const length = view.getUint32(at + 2, true);
    const payload = body.subarray(at + columnHeadBytes, at + columnHeadBytes + length);
    check(payload.length === length, 'a column is cut short');
    if (name !== undefined) columns[name].set(decodeColumn(encoding, payload, columns, steps));
    at += columnHeadBytes + length;
  }
  return columns;
}

interface EncodedColumn {
  readonly encoding: Encoding;
  readonly payload: Uint8Array;
}

function encodeColumn(name: ColumnName, columns: Columns): EncodedColumn {
  const values = name === 'seconds' ? roundTo10Bits(columns.seconds) : columns[name];
  const bits = bitsOf(values);
  if (bits.every((word) => word === bits[0])) {
    return { encoding: encodings.constant, payload: toPlanes(bits.subarray(0, 1)) };
  }
  if (name === 'learningRate') {
    return { encoding: encodings.secondDifferences, payload: toPlanes(secondDifferences(bits)) };
  }
  if (name === 'clipFactor') return encodeClip(values, columns.gradientNorm);
  return { encoding: encodings.planes, payload: toPlanes(bits) };
}

function decodeColumn(encoding: Encoding, payload: Uint8Array, columns: Columns, steps: number): Float32Array {
  switch (encoding) {
    case encodings.constant:
      return floats(new Uint32Array(steps).fill(fromPlanes(payload)[0]!));
    case encodings.planes:
      return floats(fromPlanes(payload));
    case encodings.secondDifferences:
      return floats(fromSecondDifferences(fromPlanes(payload)));
    case encodings.clipResiduals:
      return decodeClip(payload, columns.gradientNorm);
    default:
      throw new TierraError('E_UNSUPPORTED', `unknown encoding ${encoding}`);
  }
}

const floats = (words: Uint32Array | Int32Array): Float32Array =>
  new Float32Array(words.buffer, words.byteOffset, words.length);

/** A clip factor is 1, or the clip norm over the norm: what differs from that, in units of the last place, is kept. */
function encodeClip(factors: Float32Array, norms: Float32Array): EncodedColumn {
  const clipped = factors.findIndex((factor) => factor < 1);
  const clipNorm = clipped < 0 ? Number.NaN : Math.fround(factors[clipped]! * norms[clipped]!);
  const bits = bitsOf(factors);
  const guesses = bitsOf(guessedFactors(norms, clipNorm));
  const residuals = Uint32Array.from(bits, (word, i) => zigzag((word - guesses[i]!) | 0));
  const head = toPlanes(bitsOf(Float32Array.of(clipNorm)));
  return { encoding: encodings.clipResiduals, payload: Buffer.concat([head, toPlanes(residuals)]) };
}

function decodeClip(payload: Uint8Array, norms: Float32Array): Float32Array {
  const clipNorm = floats(fromPlanes(payload.subarray(0, 4)))[0]!;
  const guesses = bitsOf(guessedFactors(norms, clipNorm));
  const residuals = fromPlanes(payload.subarray(4));
  return floats(Int32Array.from(residuals, (word, i) => (guesses[i]! + unzigzag(word)) | 0));
}

const guessedFactors = (norms: Float32Array, clipNorm: number): Float32Array =>
  norms.map((norm) => (norm > clipNorm ? clipNorm / norm : 1));
