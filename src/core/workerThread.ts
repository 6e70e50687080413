import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { Worker, type WorkerOptions } from 'node:worker_threads';

const bundles = new Map<string, string>();

/**
 * A thread that runs `name` (without its ending), a file beside the caller, whose `import.meta.url` is `from`. Built, that is plain
 * JavaScript. From sources it is bundled by the esbuild that comes with tsx, once in a process: the thread must get no loader, since
 * loaders answer imports from the main thread, which may be waiting for this one.
 */
export function startThread(from: string, name: string, options: WorkerOptions = {}): Worker {
  if (!from.endsWith('.ts')) return new Worker(new URL(`./${name}.js`, from), options);
  const url = new URL(`./${name}.ts`, from).href;
  const bundled = bundles.get(url) ?? bundle(url);
  bundles.set(url, bundled);
  return new Worker(bundled, { ...options, execArgv: [], eval: true });
}

function bundle(url: string): string {
  const { buildSync } = createRequire(import.meta.url)('esbuild') as typeof import('esbuild');
  const { outputFiles } = buildSync({
    entryPoints: [fileURLToPath(url)],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    // Asked for nothing but the package's folder above it, so one answer does for every module.
    define: { 'import.meta.url': JSON.stringify(url) },
  });
  return outputFiles[0]!.text;
}
