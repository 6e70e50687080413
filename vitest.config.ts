import { defineConfig } from 'vitest/config';

/** Tests are sorted by what they need: nothing, the addon, several processes, a GPU. */
const project = (name: string, options: object = {}) => ({
  test: { name, include: [`test/${name}/**/*.test.ts`], pool: 'forks' as const, ...options },
});

export default defineConfig({
  test: {
    projects: [
      project('unit'),
      project('native', { testTimeout: 120_000 }),
      project('multi', { testTimeout: 180_000 }),
      project('gpu', { testTimeout: 300_000 }),
    ],
  },
});
