import path from 'node:path';
import { check, TierraError } from '../core/errors.ts';
import { chatTemplate } from './chatTemplates.ts';
import { type CorpusFile, hashFiles } from './corpusFiles.ts';
import type { CorpusFormat, CorpusOptions } from './corpusOptions.ts';
import { FileHashes } from './fileHashes.ts';
import { globFiles } from './globFiles.ts';
import { splitAtEnd, wholeStream } from './split.ts';
import { corpusKey, type OpenedCorpus, openOrBuild } from './tokenCache.ts';
import type { TokenDataset } from './tokenDataset.ts';
import type { CorpusPlan } from './tokenizeCorpus.ts';

export interface PreparedCorpus {
  readonly train: TokenDataset;
  readonly validation: TokenDataset | null;
  /** Closes both. */
  dispose(): void;
}

/**
 * Training and, where asked for, validation sequences of a corpus: tokenized once and kept in the cache folder, found
 * there again as long as neither content nor settings change. Memory stays small however large the corpus is.
 * @throws E_DATA for missing, empty or malformed data; E_ARGUMENT for impossible options; E_IO.
 */
export async function prepareCorpus(options: CorpusOptions): Promise<PreparedCorpus> {
  checkOptions(options);
  const { validation, sequenceLength, note = () => {} } = options;
  const cache = {
    cacheFolder: path.resolve(options.root ?? '.', options.cacheFolder),
    verify: options.verify ?? false,
    note,
    signal: options.signal,
  };
  const separate =
    validation !== undefined && 'files' in validation ? await filesOf(options, validation.files, Infinity) : null;
  const listed = await filesOf(options, options.files, options.maxBytes ?? Infinity);
  const training = separate === null ? listed : withoutOverlap(listed, separate, note);
  const byDocuments = validation !== undefined && 'fraction' in validation && validation.by === 'documents';

  const opened: OpenedCorpus[] = [];
  const open = async (files: readonly CorpusFile[], validationPlace = 0): Promise<OpenedCorpus> => {
    const corpus = await openOrBuild(planOf(options, files, validationPlace), cache);
    opened.push(corpus);
    return corpus;
  };
  try {
    const corpus = await open(training, byDocuments ? validation.fraction : 0);
    if (validation !== undefined && 'fraction' in validation && !byDocuments) {
      const { train, held } = splitAtEnd(corpus, sequenceLength, validation.fraction);
      return pair(train, held);
    }
    const train = wholeStream(corpus, 'train', sequenceLength);
    if (byDocuments) return pair(train, wholeStream(corpus, 'validation', sequenceLength));
    if (separate === null) return pair(train, null);
    return pair(train, wholeStream(await open(separate), 'train', sequenceLength, 'validation'));
  } catch (error) {
    for (const { stores } of opened) for (const store of Object.values(stores)) store.dispose();
    throw error;
  }
}

function pair(train: TokenDataset, validation: TokenDataset | null): PreparedCorpus {
  return {
    train,
    validation,
    dispose() {
      train.dispose();
      validation?.dispose();
    },
  };
}

function checkOptions({
  sequenceLength,
  validation,
  maxBytes,
  shardTokens,
  tokenizer,
  separator,
}: CorpusOptions): void {
  check(
    Number.isInteger(sequenceLength) && sequenceLength >= 1,
    `sequence length ${sequenceLength}: expected a whole number from 1`,
  );
  check(maxBytes === undefined || maxBytes >= 1, `maxBytes ${maxBytes}: expected at least 1`);
  check(
    shardTokens === undefined || (Number.isInteger(shardTokens) && shardTokens >= 1),
    `shardTokens ${shardTokens}: expected a whole number from 1`,
  );
  if (validation !== undefined && 'fraction' in validation) {
    const { fraction } = validation;
    check(fraction > 0 && fraction < 1, `validation fraction ${fraction}: expected a number between 0 and 1`);
  }
  check(
    separator !== 'endOfText' || tokenizer.endOfText !== null,
    `separator endOfText: the tokenizer ${tokenizer.name} has no such id`,
    {
      hint: 'Leave the separator out, or set it to none.',
    },
  );
}

async function filesOf(
  options: CorpusOptions,
  patterns: string | readonly string[],
  maxBytes: number,
): Promise<CorpusFile[]> {
  const known = new FileHashes(path.resolve(options.root ?? '.', options.cacheFolder));
  const files = await hashFiles(globFiles(patterns, options.root), maxBytes, known);
  if (files.some(({ bytes }) => bytes > 0)) return files.filter(({ bytes }) => bytes > 0);
  throw new TierraError(
    'E_DATA',
    `the corpus is empty: ${files.length} files match ${JSON.stringify(patterns)}, all of 0 bytes`,
    {
      hint: 'Give files with text in them.',
    },
  );
}

/** Training files that are also validation files, under whatever name, would leak what is measured into what is learnt. */
function withoutOverlap(
  training: readonly CorpusFile[],
  held: readonly CorpusFile[],
  note: (text: string) => void,
): CorpusFile[] {
  const paths = new Set(held.map((file) => file.path));
  const contents = new Set(held.map((file) => file.sha256));
  const rest = training.filter((file) => !paths.has(file.path) && !contents.has(file.sha256));
  if (rest.length === 0) {
    throw new TierraError('E_DATA', `all ${training.length} training files are validation files as well`, {
      hint: 'Name other files for validation, or split off a fraction instead.',
    });
  }
  if (rest.length < training.length)
    note(`${training.length - rest.length} files are kept for validation and left out of training`);
  return rest;
}

function planOf(options: CorpusOptions, files: readonly CorpusFile[], validationPlace: number): CorpusPlan {
  const { tokenizer, field = 'text', template, separator, format = 'auto', shardTokens = 2 ** 28 } = options;
  if (template !== undefined) chatTemplate(template);
  const formats = files.map((file) => ({
    file,
    format: format === 'auto' ? formatOf(file.path, template !== undefined) : format,
  }));
  if (template === undefined && formats.some(({ format }) => format === 'chat')) {
    throw new TierraError('E_DATA', 'chat data need a template', { hint: 'Choose chatml, llama3 or plain.' });
  }
  const plan = {
    files: formats,
    tokenizer,
    field,
    template: template ?? null,
    separator: separator === 'none' ? null : tokenizer.endOfText,
    validationPlace,
    shardTokens,
  };
  return { ...plan, key: corpusKey(plan) };
}

function formatOf(file: string, chat: boolean): CorpusFormat {
  if (!/\.(jsonl|ndjson)$/i.test(file)) return 'text';
  return chat ? 'chat' : 'jsonl';
}
