import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { TierraError } from '../core/errors.ts';

type Json = Readonly<Record<string, unknown>>;

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** A `tokenizer.json` that has been checked, with the little that its neighbour files say. */
export interface TokenizerDefinition {
  readonly name: string;
  readonly file: string;
  /** The file's bytes, for the fingerprint. */
  readonly bytes: Buffer;
  readonly json: Json;
  readonly addedTokens: readonly AddedToken[];
  /** One more than the largest id. */
  readonly vocabularySize: number;
  readonly endOfText: AddedToken | null;
  readonly startOfText: AddedToken | null;
}

/** An id beyond it would mean an embedding of absurd size, so the file is broken or hostile. */
const largestId = 2 ** 24;

const endNames = ['<|endoftext|>', '<|end_of_text|>', '</s>', '<eos>', '<|im_end|>', '<｜end▁of▁sentence｜>'];
const startNames = ['<|begin_of_text|>', '<s>', '<bos>', '<｜begin▁of▁sentence｜>'];

/** Reads a `tokenizer.json`, or the one in a folder. @throws E_DATA when it is missing or is not one. */
export function readTokenizerDefinition(location: string): TokenizerDefinition {
  const given = path.resolve(location);
  const isFolder = statSync(given, { throwIfNoEntry: false })?.isDirectory() ?? false;
  const file = isFolder ? path.join(given, 'tokenizer.json') : given;
  const bytes = readBytes(file);
  const json = parse(bytes, file);
  const addedTokens = readAddedTokens(json, file);
  const special = (names: readonly string[], field: string) =>
    specialToken(path.dirname(file), field, names, addedTokens);
  return {
    name: path.basename(isFolder || path.basename(file) === 'tokenizer.json' ? path.dirname(file) : file, '.json'),
    file,
    bytes,
    json,
    addedTokens,
    vocabularySize: 1 + Math.max(largestIn(json, file), ...addedTokens.map(({ id }) => id)),
    endOfText: special(endNames, 'eos_token'),
    startOfText: special(startNames, 'bos_token'),
  };
}

function readBytes(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const what = code === 'ENOENT' || code === 'ENOTDIR' ? 'does not exist' : `cannot be read (${code})`;
    throw new TierraError('E_DATA', `tokenizer: ${file} ${what}`, {
      hint: 'Give a tokenizer.json or a folder that has one; older formats (vocab.txt, tokenizer.model) are not read.',
      cause: error,
    });
  }
}

function parse(bytes: Buffer, file: string): Json {
  try {
    const json: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof json === 'object' && json !== null && 'model' in json) {
      // Files written by hand may leave out steps that they do not have.
      return { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, ...json };
    }
  } catch (error) {
    throw new TierraError('E_DATA', `tokenizer: ${file} is not JSON (${(error as Error).message})`, {
      hint: 'If it came with git, the real file may not have been fetched (git lfs pull).',
      cause: error,
    });
  }
  throw new TierraError('E_DATA', `tokenizer: ${file} is JSON, but not a tokenizer: it has no "model"`, {
    hint: 'tokenizer.json is the file wanted, not tokenizer_config.json or config.json.',
  });
}

function malformed(file: string, what: string): TierraError {
  return new TierraError('E_DATA', `tokenizer: ${file} is malformed: ${what}`, {
    hint: 'Get the tokenizer.json again from where it came.',
  });
}

function checkId(id: unknown, token: string, file: string): number {
  if (Number.isInteger(id) && (id as number) >= 0 && (id as number) < largestId) return id as number;
  throw malformed(file, `the token ${JSON.stringify(token)} has the id ${JSON.stringify(id)}`);
}

/** The largest id of the model's own vocabulary: a map, or a list of [token, score] (unigram). */
function largestIn(json: Json, file: string): number {
  const { vocab } = json.model as Json;
  if (Array.isArray(vocab) && vocab.length > 0 && vocab.length <= largestId) return vocab.length - 1;
  if (typeof vocab !== 'object' || vocab === null || Array.isArray(vocab)) throw malformed(file, 'no "model.vocab"');
  let largest = -1;
  for (const [token, id] of Object.entries(vocab)) largest = Math.max(largest, checkId(id, token, file));
  if (largest < 0) throw malformed(file, '"model.vocab" is empty');
  return largest;
}

function readAddedTokens(json: Json, file: string): AddedToken[] {
  const added = json.added_tokens ?? [];
  if (!Array.isArray(added)) throw malformed(file, '"added_tokens" is not a list');
  return added.map((token: Json | null) => {
    if (typeof token?.content !== 'string') throw malformed(file, 'an added token has no content');
    return {
      id: checkId(token.id, token.content, file),
      content: token.content,
      special: token.special === true,
    };
  });
}

/** What the neighbouring configuration names for `field`, else the first of the usual names that there is. */
function specialToken(folder: string, field: string, names: readonly string[], added: readonly AddedToken[]) {
  for (const name of ['tokenizer_config.json', 'special_tokens_map.json']) {
    const file = path.join(folder, name);
    if (!existsSync(file)) continue;
    try {
      const value = (JSON.parse(readFileSync(file, 'utf8')) as Json)[field];
      const content = typeof value === 'string' ? value : (value as Json | null | undefined)?.content;
      const found = added.find((token) => token.content === content);
      if (found !== undefined) return found;
    } catch (error) {
      throw new TierraError('E_DATA', `tokenizer: ${file} is not JSON (${(error as Error).message})`, { cause: error });
    }
  }
  for (const name of names) {
    const found = added.find((token) => token.content === name);
    if (found !== undefined) return found;
  }
  return null;
}
