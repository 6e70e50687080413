import { isUtf8 } from 'node:buffer';
import { MiB } from '../core/units.ts';
import { type CorpusFile, readPieces } from './corpusFiles.ts';

/** Texts up to this length are tokenized in one go. */
const wholeBytes = MiB;

/**
 * A text file as strings small enough to tokenize. A file up to 1 MiB is one piece. A larger one is cut after a line break
 * that is followed by visible text, where the tokenizers in use today split anyway; one that joins tokens across lines,
 * or puts a space before a text (Llama 2), gives another id or two at each cut. A leading byte order mark is dropped; bytes that are not UTF-8 become U+FFFD and
 * are reported once.
 */
export function* textPieces(
  file: CorpusFile,
  replaced: () => void,
  largest = wholeBytes,
): Generator<string, void, undefined> {
  let held: Buffer = Buffer.alloc(0);
  let first = true;
  let reported = false;
  const decode = (bytes: Buffer): string => {
    if (!reported && !isUtf8(bytes)) {
      reported = true;
      replaced();
    }
    const text = bytes.toString('utf8');
    const start = first && text.startsWith('\uFEFF') ? 1 : 0;
    first = false;
    return text.slice(start);
  };
  for (const piece of readPieces(file.path, file.bytes)) {
    held = Buffer.concat([held, piece]);
    if (held.length <= largest) continue;
    const cut = cutPoint(held);
    yield decode(held.subarray(0, cut));
    held = held.subarray(cut);
  }
  if (file.cut) held = held.subarray(0, wholeCharacters(held));
  if (held.length > 0) yield decode(held);
}

/** Just after the last line break before visible text; failing that, before an incomplete character. */
function cutPoint(bytes: Buffer): number {
  for (let at = bytes.lastIndexOf(10); at > 0; at = bytes.lastIndexOf(10, at - 1)) {
    const next = bytes[at + 1];
    if (next !== undefined && next > 32) return at + 1;
  }
  return Math.max(1, wholeCharacters(bytes));
}

/** How many of the bytes come before a UTF-8 character that is not complete, which takes four bytes at most. */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= 4 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    const wanted = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return wanted > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}
