import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** Tests are sorted by what they need: nothing, the addon, several processes, a GPU. */
const project = (name: string, options: object = {}) => ({
  test: { name, include: [`test/${name}/**/*.test.ts`], pool: 'forks' as const, ...options },
});

/** Files one after another in few processes: starting one costs more than most files do. Not where budgets count all of a process. */
const shared = { isolate: false };

/** What commands print is compared without colours, whatever terminal the tests run in. */
const plain = { NO_COLOR: '1' };
/** Few and patient threads, and time-outs that only a hang meets: files run side by side, on machines that are small and shared. */
const env = { ...plain, OMP_NUM_THREADS: '1', OMP_WAIT_POLICY: 'PASSIVE' };

export default defineConfig({
  test: {
    // Many tests wait for processes or disks: two files at once also on two cores.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    projects: [
      project('unit', { testTimeout: 180_000, hookTimeout: 180_000, env: plain, ...shared }),
      project('native', { testTimeout: 300_000, hookTimeout: 300_000, env }),
      project('multi', { testTimeout: 600_000, hookTimeout: 600_000, env, ...shared }),
      project('gpu', { testTimeout: 300_000, hookTimeout: 300_000 }),
    ],
  },
});
