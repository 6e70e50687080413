import { nearest } from '../core/nearest.ts';
import { configSchema } from './schema/index.ts';
import { fields } from './schemaWalk.ts';

/** Spellings from other tools that no edit distance would find. */
const otherNames: Readonly<Record<string, string>> = {
  lr: 'learningRate',
  wd: 'weightDecay',
  dtype: 'precision',
  gradclip: 'clipNorm',
  maxgradnorm: 'clipNorm',
  gradientaccumulationsteps: 'accumulate',
  seqlen: 'sequenceLength',
  maxsteps: 'steps',
};

const plain = (name: string): string => name.replaceAll(/[_-]/g, '').toLowerCase();

/** Every field's full path, by its last name. */
const everywhere: ReadonlyMap<string, string> = new Map(
  [...fields(configSchema)].reverse().map(({ path }) => [path.at(-1)!, path.join('.')]),
);

/**
 * What the writer of an unknown key probably meant: a sibling spelled otherwise, the same name in another section,
 * a sibling or any field with a slip in it, in this order.
 */
export function suggestKey(name: string, siblings: readonly string[]): string | undefined {
  const same = (known: Iterable<string>, wanted: string) => [...known].find((key) => plain(key) === plain(wanted));
  for (const wanted of [name, otherNames[plain(name)] ?? name]) {
    const sibling = same(siblings, wanted);
    if (sibling !== undefined) return sibling;
    const elsewhere = same(everywhere.keys(), wanted);
    if (elsewhere !== undefined) return everywhere.get(elsewhere);
  }
  // In a shorter name every letter could be a slip.
  if (name.length < 3) return undefined;
  const slip = nearest(name, siblings);
  if (slip !== undefined) return slip;
  if (name.length < 5) return undefined;
  const far = nearest(name, everywhere.keys());
  return far === undefined ? undefined : everywhere.get(far);
}
