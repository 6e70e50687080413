import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { TierraError } from '../core/errors.ts';
import { chatMessages } from './chatMessages.ts';
import type { ChatTemplate } from './chatTemplates.ts';
import { type CorpusFile, readPieces } from './corpusFiles.ts';
import type { CorpusFormat } from './corpusOptions.ts';
import { readJsonLines } from './jsonLines.ts';
import { textPieces } from './textPieces.ts';
import type { Tokenizer } from './tokenizer.ts';

/** Ids that come one after another in a document. */
export interface TokenRun {
  readonly ids: ArrayLike<number>;
  readonly trained: boolean;
}

export interface TokenizedDocument {
  /** 48 bits of the content's hash, as a number in [0, 1): decides which side of a split the document is on. */
  readonly place: number;
  /** To be read before the next document. */
  readonly runs: Iterable<TokenRun>;
}

export interface DocumentReader {
  readonly tokenizer: Tokenizer;
  readonly format: CorpusFormat;
  readonly field: string;
  readonly template: ChatTemplate | null;
  /** Told once per file with bytes that are not UTF-8. */
  readonly replaced: (file: string) => void;
}

/** The documents of one file: the whole file when it is text, every line when it is JSONL or chat. */
export function* readDocuments(
  file: CorpusFile,
  reader: DocumentReader,
): Generator<TokenizedDocument, void, undefined> {
  if (reader.format === 'text') {
    yield { place: placeOf(Buffer.from(file.sha256, 'hex')), runs: textRuns(file, reader) };
    return;
  }
  let checkedUtf8 = false;
  for (const { value, where, raw } of readJsonLines(file)) {
    if (!checkedUtf8 && !isUtf8(raw)) {
      checkedUtf8 = true;
      reader.replaced(file.path);
    }
    const runs =
      reader.template === null ? fieldRuns(value, where, reader) : chatRuns(value, where, reader, reader.template);
    yield { place: placeOf(createHash('sha256').update(raw).digest()), runs };
  }
}

function* textRuns(file: CorpusFile, { tokenizer, replaced }: DocumentReader): Generator<TokenRun, void, undefined> {
  const { encodeBytes } = tokenizer;
  if (encodeBytes !== undefined) {
    for (const piece of readPieces(file.path, file.bytes)) yield { ids: encodeBytes(piece), trained: true };
    return;
  }
  for (const text of textPieces(file, () => replaced(file.path))) yield { ids: tokenizer.encode(text), trained: true };
}

function fieldRuns(
  value: Readonly<Record<string, unknown>>,
  where: string,
  { tokenizer, field }: DocumentReader,
): TokenRun[] {
  const text = value[field];
  if (typeof text === 'string') return [{ ids: tokenizer.encode(text), trained: true }];
  const found = text === undefined ? `no field "${field}"` : `the field "${field}" is not a string`;
  throw new TierraError('E_DATA', `${where}: ${found} (fields: ${Object.keys(value).join(', ') || 'none'})`, {
    hint: Array.isArray(value.messages)
      ? 'These look like conversations: choose a chat template.'
      : 'Name the field that holds the text.',
  });
}

function chatRuns(
  value: Readonly<Record<string, unknown>>,
  where: string,
  reader: DocumentReader,
  template: ChatTemplate,
): TokenRun[] {
  return template(chatMessages(value, where)).map(({ text, trained }) => ({
    ids: reader.tokenizer.encode(text),
    trained,
  }));
}

const placeOf = (digest: Buffer): number => digest.readUIntBE(0, 6) / 2 ** 48;
