import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { TierraError } from '../core/errors.ts';
import { formatCount } from '../core/units.ts';
import { type ChatTemplateName, chatTemplate } from './chatTemplates.ts';
import { type CorpusFile, checkUnchanged } from './corpusFiles.ts';
import type { CorpusFormat } from './corpusOptions.ts';
import { readDocuments, type TokenizedDocument } from './documents.ts';
import { formatVersion, idBytes, type Manifest, manifestName, type StreamName } from './shardFormat.ts';
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

/**
 * Tokenizes a corpus into a folder of its own beside `target`, makes it durable and moves it into place with one rename.
 * When another process was first, its result stays and ours is dropped: both are the same.
 * `progress` is called from time to time.
 */
export async function buildCorpus(
  plan: CorpusPlan,
  target: string,
  note: (text: string) => void,
  progress: () => void,
): Promise<void> {
  const aside = `${target}.building-${process.pid}-${Math.random().toString(36).slice(2)}`;
  mkdirSync(aside, { recursive: true });
  try {
    writeManifest(aside, await tokenize(plan, aside, note, progress));
    checkUnchanged(plan.files.map(({ file }) => file));
    syncFolder(aside);
    moveIntoPlace(aside, target);
    syncFolder(path.dirname(target));
  } catch (error) {
    rmSync(aside, { recursive: true, force: true });
    throw diskError(error, aside);
  }
}

async function tokenize(
  plan: CorpusPlan,
  folder: string,
  note: (text: string) => void,
  progress: () => void,
): Promise<Manifest> {
  const { key, tokenizer, shardTokens } = plan;
  const elementBytes = idBytes(tokenizer.vocabularySize);
  const masked = plan.files.some(({ format }) => format === 'chat');
  const open = (stream: StreamName) => new TokenWriter({ folder, stream, key, elementBytes, shardTokens, masked });
  const writers = { train: open('train'), validation: open('validation') };
  try {
    let replacedFiles = 0;
    let untrained = 0;
    let sinceTurn = 0;
    for (const { file, format } of plan.files) {
      const template = format === 'chat' && plan.template !== null ? chatTemplate(plan.template) : null;
      const reader = { tokenizer, format, field: plan.field, template, replaced: () => replacedFiles++ };
      for (const document of readDocuments(file, reader)) {
        const writer = document.place < plan.validationPlace ? writers.validation : writers.train;
        const added = appendDocument(document, writer, plan.separator, format !== 'chat');
        if (format === 'chat' && added.trained === 0) untrained++;
        sinceTurn += added.tokens;
        if (sinceTurn < 1 << 20) continue;
        sinceTurn = 0;
        progress();
        await nextTurn();
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

/** Appends the document and its separator; one without a token leaves no trace. */
function appendDocument(
  { runs }: TokenizedDocument,
  writer: TokenWriter,
  separator: number | null,
  separatorTrained: boolean,
) {
  let tokens = 0;
  let trained = 0;
  for (const run of runs) {
    writer.append(run.ids, run.trained);
    tokens += run.ids.length;
    if (run.trained) trained += run.ids.length;
  }
  if (tokens > 0) writer.documents++;
  if (tokens > 0 && separator !== null) writer.append([separator], separatorTrained);
  return { tokens, trained };
}

function writeManifest(folder: string, manifest: Manifest): void {
  const file = openSync(path.join(folder, manifestName), 'wx');
  try {
    writeSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function moveIntoPlace(aside: string, target: string): void {
  try {
    renameSync(aside, target);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
    rmSync(aside, { recursive: true, force: true });
  }
}

/** A rename is durable once its folder is. */
function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function diskError(error: unknown, folder: string): unknown {
  if (error instanceof TierraError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === undefined) return error;
  return new TierraError('E_IO', `token cache: cannot write below ${path.dirname(folder)} (${code})`, {
    hint:
      code === 'ENOSPC'
        ? 'The disk is full; name another cache folder or free space.'
        : 'Check the cache folder, or name another one.',
    cause: error,
  });
}
