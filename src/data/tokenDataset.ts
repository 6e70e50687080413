import { createHash } from 'node:crypto';
import { TierraError } from '../core/errors.ts';
import type { TokenStore } from './tokenStore.ts';

/** Sequences of one length, by index. Sequence i covers tokens [i * n, i * n + n]: n inputs and n labels, one token apart. */
export interface TokenDataset {
  /** How many sequences there are. */
  readonly sequences: number;
  readonly sequenceLength: number;
  /** Tokens that are used as input: `sequences * sequenceLength`. */
  readonly tokens: number;
  /** Every id is below it. */
  readonly vocabularySize: number;
  /** Changes when any sequence could change: by content, tokenizer, settings, split or length. */
  readonly fingerprint: string;
  /**
   * Reads the `sequenceLength + 1` ids of sequence `index` into the start of `into`, and into `trained` whether the loss
   * counts each of them as a label (1 or 0).
   */
  read(index: number, into: Int32Array, trained?: Uint8Array): void;
  /** Closes the files. The train and validation sets of one corpus may share them; the last one closes. */
  dispose(): void;
}

/** How many sequences of `sequenceLength` fit into `tokens`; the last label needs one token more. */
export const sequencesIn = (tokens: number, sequenceLength: number): number =>
  Math.max(0, Math.floor((tokens - 1) / sequenceLength));

/** Tokens [start, end) of a store, cut into sequences; tokens after the last whole sequence are not used. */
export class StoredSequences implements TokenDataset {
  readonly sequences: number;
  readonly sequenceLength: number;
  readonly tokens: number;
  readonly vocabularySize: number;
  readonly fingerprint: string;
  readonly #store: TokenStore;
  readonly #start: number;
  readonly #release: () => void;
  #disposed = false;

  constructor(store: TokenStore, start: number, end: number, sequenceLength: number, release: () => void) {
    this.#store = store;
    this.#start = start;
    this.#release = release;
    this.sequenceLength = sequenceLength;
    this.sequences = sequencesIn(end - start, sequenceLength);
    this.tokens = this.sequences * sequenceLength;
    this.vocabularySize = store.manifest.vocabularySize;
    this.fingerprint = createHash('sha256')
      .update(`${store.entry.sha256} ${this.vocabularySize} ${start} ${end} ${sequenceLength}`)
      .digest('hex')
      .slice(0, 32);
  }

  read(index: number, into: Int32Array, trained?: Uint8Array): void {
    if (this.#disposed) throw new TierraError('E_STATE', 'the dataset has been disposed');
    if (!Number.isInteger(index) || index < 0 || index >= this.sequences) {
      throw new TierraError('E_ARGUMENT', `dataset: sequence ${index} is not in 0..${this.sequences - 1}`);
    }
    this.#store.read(this.#start + index * this.sequenceLength, this.sequenceLength + 1, into, trained);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#release();
  }
}
