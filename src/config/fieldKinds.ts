import { bytes, phraseOf } from './schema/fields.ts';
import { configSchema } from './schema/index.ts';
import { fields } from './schemaWalk.ts';

const sizePhrase = phraseOf(bytes());

const byteFields: ReadonlySet<string> = new Set(
  [...fields(configSchema)]
    .filter(({ node }) => phraseOf(node.schema).includes(sizePhrase))
    .map(({ path }) => path.join('.')),
);

/** True for the dotted path of a field that holds a number of bytes. */
export const isByteField = (path: string): boolean => byteFields.has(path);
