import type { ChatTemplateName } from './chatTemplates.ts';
import type { Tokenizer } from './tokenizer.ts';

export type CorpusFormat = 'text' | 'jsonl' | 'chat';

/** Where the validation set comes from. */
export type ValidationOptions =
  /** Files of their own; any that are also among the training files, by path or by content, leave the training set. */
  | { readonly files: string | readonly string[] }
  /**
   * A part of the corpus: whole sequences from its end, or (`documents`) every document whose content hash falls into the
   * fraction, so that both sets have the same mixture and copies of one document stay together.
   */
  | { readonly fraction: number; readonly by?: 'end' | 'documents' };

export interface CorpusOptions {
  /** Paths and patterns, see `globFiles`. */
  readonly files: string | readonly string[];
  readonly tokenizer: Tokenizer;
  /** Tokens of one sample; windows of this length plus one are cut from the tokens. */
  readonly sequenceLength: number;
  /** Token caches are kept below it; made when missing. */
  readonly cacheFolder: string;
  /** Default `auto`: by file name, `.jsonl` and `.ndjson` are JSONL (chat when a template is given), anything else is text. */
  readonly format?: CorpusFormat | 'auto';
  /** The field of a JSONL object that holds the text. Default `text`. */
  readonly field?: string;
  /** How a conversation becomes text. Needed for chat data. */
  readonly template?: ChatTemplateName;
  /** What follows each document. Default `auto`: the tokenizer's end-of-text id where it has one. */
  readonly separator?: 'auto' | 'endOfText' | 'none';
  readonly validation?: ValidationOptions;
  /** Use at most this many bytes of the training files, in order. */
  readonly maxBytes?: number;
  /** Where relative paths start. Default: the working directory. */
  readonly root?: string;
  /** Compare every cached token with its checksum before use. Default false: sizes and headers only. */
  readonly verify?: boolean;
  /** Told in one sentence what is opened, built or built again, and why. */
  readonly note?: (text: string) => void;
  /** Stops tokenizing with `E_INTERRUPTED`; nothing half done stays behind. */
  readonly signal?: AbortSignal | undefined;
  /** Tokens in one shard file. Default 2^28. */
  readonly shardTokens?: number;
}
