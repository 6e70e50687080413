import {
  byteTokenizer,
  type CorpusOptions,
  type PreparedCorpus,
  prepareCorpus,
  type TokenDataset,
} from '../../../src/data/index.ts';

/** A corpus of the folder's .txt files, bytes, sequences of 4, unless said otherwise. */
export async function prepare(
  root: string,
  options: Partial<CorpusOptions> = {},
): Promise<PreparedCorpus & { notes: string[] }> {
  const notes: string[] = [];
  const corpus = await prepareCorpus({
    files: '**/*.txt',
    tokenizer: byteTokenizer(),
    sequenceLength: 4,
    cacheFolder: 'cache',
    root,
    note: (text) => notes.push(text),
    ...options,
  });
  return { ...corpus, notes };
}

/** All ids of a dataset, in order: every sequence's inputs and the last one's last label. */
export function idsOf(dataset: TokenDataset): number[] {
  const ids: number[] = [];
  const row = new Int32Array(dataset.sequenceLength + 1);
  for (let index = 0; index < dataset.sequences; index++) {
    dataset.read(index, row);
    ids.push(...row.subarray(0, dataset.sequenceLength));
  }
  return [...ids, row[dataset.sequenceLength]!];
}

export const bytes = (text: string): number[] => [...Buffer.from(text)];
