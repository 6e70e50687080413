/** The `data:` section as calls of `src/data`. */
import type { Config } from '../config/index.ts';
import { TierraError } from '../core/errors.ts';
import { byteTokenizer, type CorpusOptions, loadTokenizer, type Tokenizer } from '../data/index.ts';
import type { BuiltModel, ModelSettings } from '../models/index.ts';

export function tokenizerFor(location: string): Promise<Tokenizer> {
  return location === 'byte' ? Promise.resolve(byteTokenizer()) : loadTokenizer(location);
}

export function corpusOptions(
  { data }: Config,
  tokenizer: Tokenizer,
  note: (text: string) => void,
  signal: AbortSignal,
): CorpusOptions {
  if (data.train.length === 0) {
    throw new TierraError('E_CONFIG', 'data.train: no training data', {
      hint: 'Give a file, a glob or a list of them, for example data.train: corpus/**/*.txt.',
    });
  }
  const validation =
    data.validation.length > 0
      ? { files: data.validation }
      : data.validationFraction > 0
        ? { fraction: data.validationFraction, by: data.validationSplit }
        : undefined;
  return {
    files: data.train,
    tokenizer,
    sequenceLength: data.sequenceLength,
    cacheFolder: data.cache,
    field: data.field,
    note,
    signal,
    ...(data.format === 'auto' ? {} : { format: data.format }),
    ...(data.chatTemplate === null ? {} : { template: data.chatTemplate }),
    ...(data.documentSeparator === 'auto' ? {} : { separator: data.documentSeparator }),
    ...(data.maxBytes === null ? {} : { maxBytes: data.maxBytes }),
    ...(validation === undefined ? {} : { validation }),
  };
}

/** Presets and described shapes take the tokenizer's vocabulary unless told otherwise; a checkpoint keeps its own. */
export function withVocabulary(settings: ModelSettings, tokenizer: Tokenizer): ModelSettings {
  const vocabulary = { vocab_size: tokenizer.vocabularySize };
  if ('preset' in settings) return { ...settings, overrides: { ...vocabulary, ...settings.overrides } };
  if ('architecture' in settings) return { ...settings, config: { ...vocabulary, ...settings.config } };
  return settings;
}

/** Ids beyond the embedding, and sequences beyond the model's positions, would be read outside memory. */
export function checkFits({ model }: BuiltModel, tokenizer: Tokenizer, sequenceLength: number): void {
  if (tokenizer.vocabularySize > model.vocabularySize) {
    throw new TierraError(
      'E_CONFIG',
      `the tokenizer ${tokenizer.name} has ${tokenizer.vocabularySize} ids, the model's vocabulary only ${model.vocabularySize}`,
      { hint: 'Use the tokenizer that belongs to the model, or leave vocab_size out of the model section.' },
    );
  }
  if (sequenceLength > model.maxLength) {
    throw new TierraError(
      'E_CONFIG',
      `data.sequenceLength is ${sequenceLength}, the model has ${model.maxLength} positions`,
      {
        hint: `Set data.sequenceLength to at most ${model.maxLength}, or give the model more positions.`,
      },
    );
  }
}
