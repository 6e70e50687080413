import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

/**
 * The watching thread must start while this one waits for it, so it gets no loader: loaders answer imports from the main
 * thread. Built, it is plain JavaScript; from source it is bundled first, by the esbuild that comes with tsx.
 */
export function startWorker(workerData: unknown): Worker {
  const settings = { workerData, execArgv: [] };
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL('./worker.js', import.meta.url), settings);
  const { buildSync } = createRequire(import.meta.url)('esbuild') as typeof import('esbuild');
  const { outputFiles } = buildSync({
    entryPoints: [fileURLToPath(new URL('./worker.ts', import.meta.url))],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
  });
  return new Worker(outputFiles[0]!.text, { ...settings, eval: true });
}
