import { defineConfig } from 'vitest/config';

/** Tests are sorted by what they need: nothing, the addon, several processes, a GPU. */
const project = (name: string, options: object = {}) => ({
  test: { name, include: [`test/${name}/**/*.test.ts`], pool: 'forks' as const, ...options },
});

/** Few and patient threads: the machines that run tests are small and shared. */
const env = { OMP_NUM_THREADS: '2', OMP_WAIT_POLICY: 'PASSIVE' };

export default defineConfig({
  test: {
    projects: [
      project('unit', { isolate: false }),
      project('native', { testTimeout: 120_000, hookTimeout: 120_000, env }),
      project('multi', { testTimeout: 180_000, hookTimeout: 180_000, env }),
      project('gpu', { testTimeout: 300_000, hookTimeout: 300_000 }),
    ],
  },
});
