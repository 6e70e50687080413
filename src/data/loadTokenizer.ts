import { createHash } from 'node:crypto';
import { check, TierraError } from '../core/errors.ts';
import type { DecodeOptions, StreamDecoder, Tokenizer } from './tokenizer.ts';
import { readTokenizerDefinition, type TokenizerDefinition } from './tokenizerDefinition.ts';
import { type Library, library } from './tokenizerLibrary.ts';
import { checkSupported, mendLibrary } from './tokenizerSupport.ts';
import { byWords } from './wordSplit.ts';

/**
 * A Hugging Face tokenizer from its `tokenizer.json`, or from a folder with one. End-of-text is what the folder's
 * `tokenizer_config.json` calls `eos_token`, else the first of the usual names in the vocabulary.
 * Special tokens written out in a text become their ids, as in the reference implementation.
 * @throws E_DATA for a file that is missing or not a tokenizer, E_UNSUPPORTED for features that would give wrong ids.
 */
export async function loadTokenizer(location: string): Promise<Tokenizer> {
  const definition = readTokenizerDefinition(location);
  checkSupported(definition.json, definition.file);
  return wrap(openLibrary(definition), definition);
}

function openLibrary({ json, file, endOfText }: TokenizerDefinition): Library {
  try {
    const opened = new library.Tokenizer({ added_tokens: [], ...json }, { eos_token: endOfText?.content });
    mendLibrary(opened);
    opened.encode('a', { add_special_tokens: false });
    return opened;
  } catch (error) {
    throw new TierraError('E_UNSUPPORTED', `tokenizer: ${file} cannot be used (${(error as Error).message})`, {
      hint: 'It may use a feature that @huggingface/tokenizers does not know, or be incomplete.',
      cause: error,
    });
  }
}

function wrap(opened: Library, definition: TokenizerDefinition): Tokenizer {
  const { name, bytes, vocabularySize, endOfText, startOfText } = definition;
  const decode = (ids: readonly number[], { skipSpecial = false }: DecodeOptions = {}): string => {
    for (const id of ids) {
      check(
        Number.isInteger(id) && id >= 0 && id < vocabularySize,
        `decode: id ${id} is not in 0..${vocabularySize - 1}`,
      );
    }
    if (ids.length === 0) return '';
    return opened.decode(ids, { skip_special_tokens: skipSpecial, clean_up_tokenization_spaces: false });
  };
  const encode = (text: string): number[] => {
    const { ids } = opened.encode(text, { add_special_tokens: false });
    if (ids.every((id) => id >= 0 && id < vocabularySize)) return ids;
    throw new TierraError('E_DATA', `tokenizer ${name}: a part of ${JSON.stringify(text.slice(0, 40))} has no id`, {
      hint: 'The vocabulary neither covers all bytes nor has an unknown token.',
    });
  };
  return {
    name,
    vocabularySize,
    endOfText: endOfText?.id ?? null,
    startOfText: startOfText?.id ?? null,
    fingerprint: createHash('sha256').update(bytes).update(`end ${endOfText?.id}`).digest('hex').slice(0, 32),
    encode: byWords(encode, definition),
    decode,
    createDecoder: (options) => streamDecoder((ids) => decode(ids, options)),
  };
}

/**
 * Text id by id from a decoder that only knows whole lists: decode the last ids with and without the new ones and emit
 * the difference once it ends in a whole character. The ids before keep what a decoder does at the start of a text
 * (dropping a space) away from the middle.
 */
function streamDecoder(decode: (ids: readonly number[]) => string): StreamDecoder {
  let ids: number[] = [];
  /** How many of `ids` have been emitted already. */
  let emitted = 0;
  const advance = (final: boolean): string => {
    const before = decode(ids.slice(0, emitted));
    const text = decode(ids);
    if (!final && (text.length <= before.length || text.endsWith('\uFFFD'))) return '';
    ids = ids.slice(emitted);
    emitted = ids.length;
    return text.slice(before.length);
  };
  return {
    push(id) {
      ids.push(id);
      return advance(false);
    },
    end() {
      const text = advance(true);
      ids = [];
      emitted = 0;
      return text;
    },
  };
}
