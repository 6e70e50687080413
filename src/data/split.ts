import { TierraError } from '../core/errors.ts';
import type { StreamName } from './shardFormat.ts';
import type { OpenedCorpus } from './tokenCache.ts';
import { StoredSequences, sequencesIn, type TokenDataset } from './tokenDataset.ts';
import type { TokenStore } from './tokenStore.ts';

/** All sequences of one stream; the other stream's files are closed by whoever uses them. */
export function wholeStream(
  corpus: OpenedCorpus,
  stream: StreamName,
  length: number,
  role: string = stream,
): TokenDataset {
  const store = corpus.stores[stream];
  if (sequencesIn(store.tokens, length) < 1) throw tooShort(store, length, `the ${role} data have`);
  return new StoredSequences(store, 0, store.tokens, length, () => store.dispose());
}

/** The last `fraction` of the sequences, at least one, apart from the rest: no token is in both. */
export function splitAtEnd(
  corpus: OpenedCorpus,
  length: number,
  fraction: number,
): { train: TokenDataset; held: TokenDataset } {
  const store = corpus.stores.train;
  const heldSequences = Math.max(1, Math.round(sequencesIn(store.tokens, length) * fraction));
  const border = store.tokens - (heldSequences * length + 1);
  if (sequencesIn(border, length) < 1)
    throw tooShort(store, length, 'for one training and one validation sequence the corpus has');
  let users = 2;
  const release = () => {
    if (--users === 0) store.dispose();
  };
  return {
    train: new StoredSequences(store, 0, border, length, release),
    held: new StoredSequences(store, border, store.tokens, length, release),
  };
}

function tooShort(store: TokenStore, length: number, what: string): TierraError {
  return new TierraError(
    'E_DATA',
    `${what} ${store.tokens} tokens, too few: a sequence of ${length} takes ${length + 1} tokens`,
    { hint: 'Use a shorter sequence length or more data.', details: { tokens: store.tokens, sequenceLength: length } },
  );
}
