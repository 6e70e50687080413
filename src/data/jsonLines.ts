import { TierraError } from '../core/errors.ts';
import { formatBytes, MiB } from '../core/units.ts';
import { type CorpusFile, readPieces } from './corpusFiles.ts';

const longestLine = 256 * MiB;

export interface JsonLine {
  readonly value: Readonly<Record<string, unknown>>;
  /** `file:line`, for messages. */
  readonly where: string;
  /** The line's bytes, good until the next line. */
  readonly raw: Buffer;
}

/**
 * The objects of a JSONL file, one per line; blank lines are skipped, bytes that are not UTF-8 become U+FFFD.
 * A last line that a byte cap cut off is left out.
 * @throws E_DATA with file and line for anything that is not a JSON object.
 */
export function* readJsonLines(file: CorpusFile): Generator<JsonLine, void, undefined> {
  let number = 0;
  for (const { raw, ended } of readLines(file.path, file.bytes)) {
    number++;
    if (!ended && file.cut) return;
    const text = raw.toString('utf8').replace(/^\uFEFF/, '');
    if (text.trim() === '') continue;
    const where = `${file.path}:${number}`;
    yield { value: parseObject(text, where), where, raw };
  }
}

function parseObject(text: string, where: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new TierraError('E_DATA', `${where}: not JSON (${(error as Error).message})`, {
      hint: 'A JSONL file has one complete JSON object on every line.',
      cause: error,
    });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const found = value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`;
    throw new TierraError('E_DATA', `${where}: expected a JSON object, found ${found}`, {
      hint: 'A JSONL file has one complete JSON object on every line.',
    });
  }
  return value as Readonly<Record<string, unknown>>;
}

function* readLines(file: string, bytes: number): Generator<{ raw: Buffer; ended: boolean }, void, undefined> {
  let carried: Buffer[] = [];
  let carriedBytes = 0;
  for (const piece of readPieces(file, bytes)) {
    let from = 0;
    for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, from)) {
      const tail = piece.subarray(from, end);
      yield { raw: carriedBytes === 0 ? tail : Buffer.concat([...carried, tail]), ended: true };
      carried = [];
      carriedBytes = 0;
      from = end + 1;
    }
    if (from === piece.length) continue;
    carriedBytes += piece.length - from;
    if (carriedBytes > longestLine) {
      throw new TierraError('E_DATA', `${file}: a line is longer than ${formatBytes(longestLine)}`, {
        hint: 'A JSONL file has one JSON object on every line; is this one a single JSON array?',
      });
    }
    carried.push(Buffer.from(piece.subarray(from)));
  }
  if (carriedBytes > 0) yield { raw: Buffer.concat(carried), ended: false };
}
