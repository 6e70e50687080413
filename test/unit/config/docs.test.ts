import { expect, test } from 'vitest';
import { configMarkdown, configSchema } from '../../../src/config/index.ts';
import { fields, phrase } from '../../../src/config/schemaWalk.ts';
import { chatTemplateNames } from '../../../src/data/chatTemplates.ts';

test('docs/config.md is what the schema says', async () => {
  await expect(configMarkdown()).toMatchFileSnapshot('../../../docs/config.md');
});

test('every field says what it is for, and every leaf what it takes', () => {
  for (const { path, node } of fields(configSchema)) {
    expect(node.description, path.join('.')).toMatch(/\.$/);
    if (phrase(node.schema) === undefined)
      expect([...fields(node.schema, path)].length, path.join('.')).toBeGreaterThan(1);
  }
});

test('the chat templates are those that the reader knows', () => {
  expect(configMarkdown()).toContain(`\`data.chatTemplate\` | ${chatTemplateNames.join(' \\| ')}, or null`);
});
