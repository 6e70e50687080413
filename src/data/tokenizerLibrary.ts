import * as untyped from '@huggingface/tokenizers';

/**
 * The part of `@huggingface/tokenizers` 0.2 that is used here. Its own declarations name files without extensions, which
 * Node's module resolution does not find, so everything from it would be untyped.
 */
export interface Library {
  readonly pre_tokenizer: object | null;
  readonly decoder: object | null;
  readonly model: object;
  encode(text: string, options: { readonly add_special_tokens: boolean }): { readonly ids: number[] };
  decode(
    ids: readonly number[],
    options: { readonly skip_special_tokens: boolean; readonly clean_up_tokenization_spaces: boolean },
  ): string;
}

export interface ByteLevelStep {
  pattern: RegExp;
}

export interface UnigramModel {
  encode: (tokens: readonly string[]) => string[];
  tokenize(text: string): string[];
}

export interface DigitsStep {
  pattern: RegExp;
  readonly config: { readonly individual_digits?: boolean };
}

type Class<T, Arguments extends readonly unknown[] = never> = new (...given: Arguments) => T;

interface LibraryModule {
  readonly Tokenizer: Class<Library, [tokenizer: object, config: object]>;
  readonly SequencePreTokenizer: Class<{ readonly tokenizers: readonly (object | null)[] }>;
  readonly ByteLevelPreTokenizer: Class<ByteLevelStep>;
  readonly DigitsPreTokenizer: Class<DigitsStep>;
  readonly Unigram: Class<UnigramModel>;
  readonly SequenceDecoder: Class<{ readonly decoders: readonly object[] }>;
  readonly ByteFallbackDecoder: Class<{ text_decoder: InstanceType<typeof TextDecoder> }>;
}

export const library = untyped as unknown as LibraryModule;
