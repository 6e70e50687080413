import { TierraError } from '../core/errors.ts';
import { type Library, library } from './tokenizerLibrary.ts';

type Json = Readonly<Record<string, unknown>>;

/**
 * Refuses what `@huggingface/tokenizers` 0.2 takes without a word but does otherwise than the Rust reference: a model
 * must never be trained on ids that its own tokenizer would not give.
 * @throws E_UNSUPPORTED naming the feature
 */
export function checkSupported(json: Json, file: string): void {
  const refuse = (feature: string): never => {
    throw new TierraError('E_UNSUPPORTED', `tokenizer: ${file} uses ${feature}, which would give wrong ids here`, {
      hint: 'Use another tokenizer, or tokenize the data elsewhere and train on the ids as a dataset of your own.',
    });
  };
  const model = json.model as Json;
  if (!['BPE', 'Unigram'].includes(model.type as string)) {
    refuse(`the model type ${JSON.stringify(model.type ?? null)} (BPE and Unigram are supported)`);
  }
  if (typeof model.dropout === 'number' && model.dropout > 0) refuse('BPE dropout');
  if (model.continuing_subword_prefix) refuse('a continuing subword prefix');
  for (const token of (json.added_tokens ?? []) as Json[]) {
    if (token.single_word === true) refuse(`the added token ${JSON.stringify(token.content)} for single words only`);
  }
  for (const step of stepsOf(json.pre_tokenizer)) {
    const behavior = String(step.behavior ?? '').toLowerCase();
    if (step.type === 'Split') {
      const exact = step.invert === true ? behavior === 'removed' : behavior === 'isolated' || behavior === 'removed';
      if (!exact)
        refuse(`a split that is ${step.invert === true ? 'inverted and ' : ''}${JSON.stringify(step.behavior)}`);
    } else if (!['ByteLevel', 'Digits', 'Metaspace', 'Sequence', 'WhitespaceSplit'].includes(step.type as string)) {
      refuse(`the pre-tokenizer ${JSON.stringify(step.type)}`);
    }
  }
}

/** A step and, for a sequence, all steps below it. */
function stepsOf(step: unknown): Json[] {
  if (typeof step !== 'object' || step === null) return [];
  const { pretokenizers } = step as Json;
  return [step as Json, ...(Array.isArray(pretokenizers) ? pretokenizers.flatMap(stepsOf) : [])];
}

/** Mends what the library does otherwise than the reference and lets be set from outside. */
export function mendLibrary({ pre_tokenizer, decoder, model }: Library): void {
  if (pre_tokenizer !== null) mendPreTokenizer(pre_tokenizer);
  if (decoder !== null) mendDecoder(decoder);
  // The library spreads all tokens of a text into one call, which overflows the stack for long ones.
  if (model instanceof library.Unigram) model.encode = (tokens) => tokens.flatMap((token) => model.tokenize(token));
}

function mendPreTokenizer(step: object): void {
  if (step instanceof library.SequencePreTokenizer) {
    for (const inner of step.tokenizers) if (inner !== null) mendPreTokenizer(inner);
  }
  if (step instanceof library.ByteLevelPreTokenizer) {
    // JavaScript's \s has U+FEFF and lacks U+0085; the reference goes by Unicode's White_Space.
    step.pattern =
      /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
  }
  // The library knows the ASCII digits only, the reference all of Unicode's numbers.
  if (step instanceof library.DigitsPreTokenizer) {
    step.pattern = step.config.individual_digits ? /\P{N}+|\p{N}/gu : /\P{N}+|\p{N}+/gu;
  }
}

function mendDecoder(step: object): void {
  if (step instanceof library.SequenceDecoder) for (const inner of step.decoders) mendDecoder(inner);
  // Otherwise U+FEFF is swallowed.
  if (step instanceof library.ByteFallbackDecoder) step.text_decoder = new TextDecoder('utf-8', { ignoreBOM: true });
}
