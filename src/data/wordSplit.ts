import { LRUCache } from 'lru-cache';
import type { TokenizerDefinition } from './tokenizerDefinition.ts';

type Json = Readonly<Record<string, unknown>>;
type Encode = (text: string) => readonly number[];

/** Pieces kept with their ids; natural text has few different words. */
const keptPieces = 1 << 16;
const longestKept = 64;

/**
 * Encodes a text in pieces that are cut where a space stands between two ASCII letters, and remembers the ids of short
 * pieces. That is exact when no token of the vocabulary goes on past a letter with a space, which is checked, as nothing
 * can then be merged across a cut. Where it is not known to be exact, and where the tokenizer itself cuts its text into
 * words, `encode` is returned as it is. For the others (Llama 2, unigram) it saves them from merging whole texts in one go.
 */
export function byWords(encode: Encode, { json, addedTokens }: TokenizerDefinition): Encode {
  const steps = stepsOf(json.normalizer);
  const joins = [...vocabularyOf(json), ...addedTokens.map(({ content }) => content)].some((token) =>
    /[A-Za-z][ ▁Ġ]/.test(token),
  );
  const pieces = stepsOf(json.pre_tokenizer).some(({ type }) => type === 'ByteLevel' || type === 'Split');
  if (joins || pieces || !steps.every(isLocal)) return encode;
  // A normalizer that puts a space before the text does so before every piece: leave the piece's own space to it.
  const cut = steps.some(({ type }) => type === 'Prepend')
    ? /(?<=[A-Za-z]) (?=[A-Za-z])/
    : /(?<=[A-Za-z])(?= [A-Za-z])/;
  const kept = new LRUCache<string, readonly number[]>({ max: keptPieces });
  return (text) => {
    const ids: number[] = [];
    for (const piece of text.split(cut)) {
      let pieceIds = kept.get(piece);
      if (pieceIds === undefined) {
        pieceIds = encode(piece);
        if (piece.length <= longestKept) kept.set(piece, pieceIds);
      }
      for (const id of pieceIds) ids.push(id);
    }
    return ids;
  };
}

/** Normalizers that leave letters and single spaces alone, or treat every one of them by itself. */
function isLocal(step: Json): boolean {
  if (step.type === 'Prepend') return step.prepend === '▁';
  if (step.type === 'Replace') return ['{"String":" "}', '{"Regex":" {2,}"}'].includes(JSON.stringify(step.pattern));
  return ['Sequence', 'NFC', 'NFD', 'NFKC', 'NFKD', 'Precompiled', 'Lowercase'].includes(step.type as string);
}

function stepsOf(step: unknown): Json[] {
  if (typeof step !== 'object' || step === null) return [];
  const { normalizers, pretokenizers } = step as Json;
  const inner = normalizers ?? pretokenizers;
  return [step as Json, ...(Array.isArray(inner) ? inner.flatMap(stepsOf) : [])];
}

function vocabularyOf(json: Json): string[] {
  const { vocab } = json.model as Json;
  return Array.isArray(vocab)
    ? vocab.map((entry: readonly unknown[]) => String(entry[0]))
    : Object.keys(vocab as object);
}
