import { expect, test } from 'vitest';
import { configMarkdown } from '../../../src/config/index.ts';

test('docs/config.md is what the schema says', async () => {
  await expect(configMarkdown()).toMatchFileSnapshot('../../../docs/config.md');
});
