/** Text to ids and back. Implementations: {@link byteTokenizer}, {@link loadTokenizer}. */
export interface Tokenizer {
  /** For people: `bytes`, or the tokenizer's folder name. */
  readonly name: string;
  /** Every id is below it; the embedding needs this many rows at least. */
  readonly vocabularySize: number;
  /** The id put between documents, or null when the vocabulary has none. */
  readonly endOfText: number | null;
  /** The id that models of this vocabulary expect first, or null. Not added by `encode`. */
  readonly startOfText: number | null;
  /** Changes when any id could change: part of the token cache's key. */
  readonly fingerprint: string;
  /** No special tokens are added around the text. */
  encode(text: string): ArrayLike<number>;
  /** Present where ids can be had from raw bytes without decoding them as UTF-8 first. May return the bytes themselves. */
  readonly encodeBytes?: (bytes: Uint8Array) => ArrayLike<number>;
  /** Byte sequences that are not UTF-8 come out as U+FFFD. */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** A decoder for text that arrives id by id; it never emits half a character. */
  createDecoder(options?: DecodeOptions): StreamDecoder;
}

export interface DecodeOptions {
  /** Leave special tokens such as end-of-text out of the text. Default false. */
  readonly skipSpecial?: boolean;
}

export interface StreamDecoder {
  /** The text that became certain with this id; often empty inside a multi-byte character. */
  push(id: number): string;
  /** What is left, an unfinished character as U+FFFD. The decoder starts anew afterwards. */
  end(): string;
}
