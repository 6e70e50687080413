import { formatBytes } from '../core/units.ts';
import { configSchema } from './schema/index.ts';
import { fields, phrase, type SchemaNode } from './schemaWalk.ts';

const preamble = `# Configuration

<!-- Generated from src/config/schema. Run \`npx vitest run --project unit test/unit/config/docs.test.ts -u\` to renew. -->

A configuration is one YAML 1.2 file. Everything in it may be left out; an unknown key is an error that names the nearest
known one. \`--set section.field=value\` on the command line wins over the file, and
\`tierra config show FILE\` prints every resolved value with its origin.

Sizes are bytes, written as a number or with a unit: \`KiB\`, \`MiB\`, \`GiB\`, \`TiB\` (powers of 1024),
\`KB\`, \`MB\`, \`GB\`, \`TB\` (powers of 1000). Paths are relative to the working directory.
`;

/** The reference of every field as Markdown: one table per section, in the order of the schema. */
export function configMarkdown(): string {
  const all = [...fields(configSchema)];
  const isSection = ({ path, node }: Field) => path.length === 1 && phrase(node.schema) === undefined;
  const top = all.filter((field) => field.path.length === 1 && !isSection(field));
  const parts = [preamble, '## Top level\n', table(top)];
  for (const section of all.filter(isSection)) {
    const name = section.path[0]!;
    const inside = all.filter(
      (field) => field.path.length > 1 && field.path[0] === name && phrase(field.node.schema) !== undefined,
    );
    parts.push(`## ${name}\n`, `${section.node.description}\n`, table(inside));
  }
  return `${parts.join('\n').trimEnd()}\n`;
}

interface Field {
  readonly path: readonly string[];
  readonly node: SchemaNode;
}

function table(rows: readonly Field[]): string {
  const lines = rows.map(({ path, node }) => {
    const type = `${phrase(node.schema)}${node.nullable ? ', or null' : ''}`;
    return `| \`${path.join('.')}\` | ${escapeCell(type)} | ${defaultText(node)} | ${escapeCell(node.description)} |`;
  });
  return ['| key | value | default | meaning |', '|---|---|---|---|', ...lines, ''].join('\n');
}

const escapeCell = (text: string): string => text.replaceAll('|', '\\|');

function defaultText(node: SchemaNode): string {
  const value = node.defaultValue;
  if (value === undefined) return 'must be given';
  if (typeof value === 'number' && value >= 1024 && phrase(node.schema)?.includes('size such as'))
    return formatBytes(value);
  return `\`${typeof value === 'string' && value !== '' ? value : JSON.stringify(value)}\``;
}
