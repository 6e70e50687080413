import { formatCount } from '../core/units.ts';
import { type ChatTemplateName, chatTemplate } from './chatTemplates.ts';
import type { CorpusFile } from './corpusFiles.ts';
import type { CorpusFormat } from './corpusOptions.ts';
import { readDocuments, type TokenizedDocument } from './documents.ts';
import { Pacer, type PacerOptions } from './pacer.ts';
import { formatVersion, idBytes, type Manifest, type StreamName } from './shardFormat.ts';
import type { Tokenizer } from './tokenizer.ts';
import { TokenWriter } from './tokenWriter.ts';

/** One corpus to tokenize, everything resolved. */
export interface CorpusPlan {
  readonly key: string;
  readonly files: readonly { readonly file: CorpusFile; readonly format: CorpusFormat }[];
  readonly tokenizer: Tokenizer;
  readonly field: string;
  readonly template: ChatTemplateName | null;
  readonly separator: number | null;
  /** Documents whose place is below it go to the validation stream. */
  readonly validationPlace: number;
  readonly shardTokens: number;
}

/** Tokenizes everything into shards in `folder` and returns the manifest, which the caller writes. */
export async function tokenizeCorpus(plan: CorpusPlan, folder: string, pace: PacerOptions): Promise<Manifest> {
  const { note } = pace;
  const pacer = new Pacer(pace);
  const { key, tokenizer, shardTokens } = plan;
  const elementBytes = idBytes(tokenizer.vocabularySize);
  const masked = plan.files.some(({ format }) => format === 'chat');
  const open = (stream: StreamName) => new TokenWriter({ folder, stream, key, elementBytes, shardTokens, masked });
  const writers = { train: open('train'), validation: open('validation') };
  try {
    let replacedFiles = 0;
    let untrained = 0;
    for (const { file, format } of plan.files) {
      const template = format === 'chat' && plan.template !== null ? chatTemplate(plan.template) : null;
      const reader = { tokenizer, format, field: plan.field, template, replaced: () => replacedFiles++ };
      for (const document of readDocuments(file, reader)) {
        const writer = document.place < plan.validationPlace ? writers.validation : writers.train;
        const trained = await appendDocument(document, writer, { separator: plan.separator, format, pacer });
        if (format === 'chat' && trained === 0) untrained++;
      }
    }
    if (replacedFiles > 0) note(`bytes that are not UTF-8 in ${replacedFiles} files became U+FFFD`);
    if (untrained > 0) note(`${untrained} conversations have no assistant turn, so nothing in them is trained`);
    const streams = { train: writers.train.finish(), validation: writers.validation.finish() };
    const { train, validation } = streams;
    note(
      `tokenized ${formatCount(train.tokens + validation.tokens)} tokens in ${train.documents + validation.documents} documents`,
    );
    return {
      format: 'tierra-tokens',
      version: formatVersion,
      key,
      tokenizer: tokenizer.name,
      vocabularySize: tokenizer.vocabularySize,
      shardTokens,
      streams,
    };
  } catch (error) {
    writers.train.abandon();
    writers.validation.abandon();
    throw error;
  }
}

interface AppendOptions {
  readonly separator: number | null;
  readonly format: CorpusFormat;
  readonly pacer: Pacer;
}

/** Appends a document and its separator and returns how many tokens are trained; an empty document leaves no trace. */
async function appendDocument(
  { runs }: TokenizedDocument,
  writer: TokenWriter,
  options: AppendOptions,
): Promise<number> {
  const { separator, format, pacer } = options;
  let tokens = 0;
  let trained = 0;
  for (const run of runs) {
    writer.append(run.ids, run.trained);
    tokens += run.ids.length;
    if (run.trained) trained += run.ids.length;
    const turn = pacer.worked(run.ids.length);
    if (turn !== null) await turn;
  }
  if (tokens > 0) writer.documents++;
  if (tokens > 0 && separator !== null) writer.append([separator], format !== 'chat');
  return trained;
}
